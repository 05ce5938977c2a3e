"""CoNAL (Chu, Ma & Wang, AAAI 2021): noise that all annotators share, and noise of each one's own."""
import torch
from torch import nn
from torch.nn import functional

from common.methods.method import Method

EMBEDDING, HIDDEN = 20, 128
START, STRENGTH = 2., 1e-5  # times I; of the distance between the matrices


class CoNAL(Method):
    """p(y^m | x) = w h(x) K^0 + (1 - w) h(x) K^m, taken as logits of a cross-entropy; K^0 is common to all.

    w = sigmoid(<u_m, v(x)>), u_m a unit vector of the annotator, v(x) one of the input by two linear layers; the loss is
    less 1e-5 sum_m |K^m - K^0|.
    """
    name = "conal"

    def __init__(self, setting):
        super().__init__(setting)
        crowd = setting.crowd
        self.people = nn.Embedding(crowd.annotators, EMBEDDING)
        self.difficulty = nn.Sequential(nn.Flatten(), nn.Linear(setting.input_size, HIDDEN), nn.Linear(HIDDEN, EMBEDDING))
        start = START * torch.eye(crowd.classes, device=crowd.label.device)
        self.common, self.own = nn.Parameter(start), nn.Parameter(start.repeat(crowd.annotators, 1).clone())

    def loss_from(self, logits, batch):
        crowd, h = batch.crowd, torch.softmax(logits, 1)
        person = functional.normalize(self.people(crowd.annotator), dim=1)
        item = functional.normalize(self.difficulty(batch.inputs.to(self.common.dtype)), dim=1)[crowd.item]
        weight = torch.sigmoid((person * item).sum(1))[:, None]
        own = crowd.through(self.own.view(crowd.annotators, -1), h)
        fitted = weight * (h @ self.common)[crowd.item] + (1 - weight) * own
        loss = functional.cross_entropy(fitted, crowd.label.long(), reduction="sum") / max(len(crowd.label), 1)
        return loss - STRENGTH * self.distance() if len(crowd.label) else loss

    def distance(self):
        """sum_m of the Frobenius norm of K^m - K^0; its gradient is zero where they are equal, as at the start."""
        squares = ((self.own.view(-1, *self.common.shape) - self.common) ** 2).sum((1, 2))
        return torch.sqrt(torch.where(squares > 0, squares, 1)).where(squares > 0, 0).sum()

    def confusion(self, posterior, crowd):
        """The softmax of each row of K^0 and K^m in equal parts: w depends on the item, and is 1/2 where u and v are at
        right angles."""
        own = self.own.detach().view(-1, *self.common.shape)
        return torch.softmax((self.common.detach() + own) / 2, 2)
