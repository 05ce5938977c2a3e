"""UnionNet (Wei et al., TNNLS 2022): all annotators' labels as one, of M * C kinds."""
import torch
from torch import nn
from torch.nn import functional

from common.methods.coupled import FLOOR
from common.methods.method import Method

EPSILON = 1e-5  # of the start: (1 - eps) on an annotator's diagonal, eps / (C - 1) elsewhere


class UnionNet(Method):
    """loss = -(1/B) sum over the labels (i, m, l) of log sum_c h(x_i)_c T[(m, l), c]; T is the softmax over all M * C rows
    of free parameters. B counts the items with labels."""
    name = "union-net"

    def __init__(self, setting):
        super().__init__(setting)
        crowd = setting.crowd
        identity = torch.eye(crowd.classes, device=crowd.label.device)
        start = (1 - EPSILON) * identity + EPSILON / max(crowd.classes - 1, 1) * (1 - identity)
        self.free = nn.Parameter(start.repeat(crowd.annotators, 1))

    def loss_from(self, logits, batch):
        crowd, h = batch.crowd, torch.softmax(logits, 1)
        fitted = (functional.embedding(crowd.rows, torch.softmax(self.free, 0)) * h[crowd.item]).sum(1)
        return -torch.log(fitted.clamp(min=FLOOR)).sum() / (crowd.counts > 0).sum().clamp(min=1)

    def confusion(self, posterior, crowd):
        """T of the annotator's own labels, its rows scaled to one for each class."""
        share = torch.softmax(self.free.detach(), 0).view(crowd.annotators, crowd.classes, crowd.classes)
        return (share / share.sum(1, keepdim=True)).transpose(1, 2)
