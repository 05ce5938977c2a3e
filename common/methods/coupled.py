"""Coupled cross-entropy: what the methods share that fit labels by the classifier and a row-stochastic matrix each."""
import torch
from torch import nn
from torch.nn import functional

from common.methods.method import Method

FLOOR = 1e-12  # of a probability, where its logarithm is taken


def coupled_cross_entropy(h, table, crowd):
    """-log sum_c h(x_i)_c table[m * C + l, c], averaged over the labels (i, m, l) there are. h: (B, C)."""
    fitted = (functional.embedding(crowd.rows, table) * h[crowd.item]).sum(1)
    return -torch.log(fitted.clamp(min=FLOOR)).sum() / max(len(fitted), 1)


class Coupled(Method):
    """A^m, the row-wise softmax of free parameters, is annotator m's confusion matrix. A subclass says where the
    parameters start, `start` (C, C), and adds its `regularisation`."""

    def __init__(self, setting):
        super().__init__(setting)
        crowd = setting.crowd
        start = self.start(torch.eye(crowd.classes, device=crowd.label.device))
        self.free = nn.Parameter(start.repeat(crowd.annotators, 1, 1))

    def loss_from(self, logits, batch):
        h, matrices = torch.softmax(logits, 1), torch.softmax(self.free, 2)
        table = matrices.transpose(1, 2).reshape(-1, h.shape[1])
        return coupled_cross_entropy(h, table, batch.crowd) + self.regularisation(h, matrices, batch.crowd)

    @staticmethod
    def start(identity):
        raise NotImplementedError

    def regularisation(self, h, matrices, crowd):
        """A scalar. h: (B, C); matrices: (M, C, C); crowd: CrowdLabels of the batch. Zero where it has no labels."""
        raise NotImplementedError

    def confusion(self, posterior, crowd):
        return torch.softmax(self.free.detach(), 2)
