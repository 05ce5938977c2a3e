"""COINNet (Nguyen, Ibrahim & Fu, NeurIPS 2024): GeoCrowdNet-F with an outlier for each label."""
import torch
from torch.nn import functional

from common.methods.geo_crowd_net import GeoCrowdNetF

OUTLIERS, POWER = .01, .4  # mu, p
EDGE, FLOOR = 1e-10, 1e-10  # of a label's probability from 0 and 1; added to an item's squared outliers
DECAY, EPSILON = (.9, .999), 1e-8  # of Adam


class COINNet(GeoCrowdNetF):
    """loss = cross-entropy - lambda log det(H^T H) + mu sum_i (sum over the labels of item i of |e[i, m]|^2 + 1e-10)^(p/2).

    The probabilities of annotator m's label of item i are h(x_i) A^m + e[i, m], clamped to [1e-10, 1 - 1e-10] and
    normalised. The outlier e[i, m] in R^C starts at zero; its mean over the classes is taken away.

    There is an outlier for each label of the training set, in the crowd's order: `outliers`, (L, C). They are trained by
    Adam at the classifier's rate. Adam of torch would also move those of other batches, by their momentum; so each outlier
    has moments and a count of steps of its own, and takes a step in the backward pass of its batch.
    """
    name = "coinnet"
    strength = .01  # lambda

    def __init__(self, setting):
        super().__init__(setting)
        crowd, self.rate = setting.crowd, setting.rate
        zeros = torch.zeros(len(crowd.label), crowd.classes, device=crowd.label.device)
        for name in ("outliers", "moment", "second_moment"):
            self.register_buffer(name, zeros.clone())
        self.register_buffer("steps", zeros[:, :1].clone())
        self.register_buffer("offsets", crowd.offsets, persistent=False)

    def loss_from(self, logits, batch):
        crowd, item = batch.crowd, batch.crowd.item
        h, matrices = torch.softmax(logits, 1), torch.softmax(self.free, 2)
        # the k-th label of an item in the batch is the k-th of the item in the training set
        place = torch.arange(len(item), device=item.device) + (self.offsets[batch.items] - crowd.offsets[:-1])[item]
        outliers = self.trained_outliers(place)
        outliers = outliers - outliers.mean(1, keepdim=True)
        fitted = (crowd.through(matrices, h) + outliers).clamp(EDGE, 1 - EDGE)
        chosen = fitted.gather(1, crowd.label.long()[:, None])[:, 0] / fitted.sum(1)
        loss = -torch.log(chosen).sum() / max(len(item), 1)
        return loss + self.regularisation(h, matrices, crowd) + self.penalty(outliers, crowd)

    def trained_outliers(self, place):
        """The outliers (K, C) at int64 (K,), each once; they take their step once the gradient is known."""
        outliers = functional.embedding(place, self.outliers)
        if torch.is_grad_enabled():
            outliers.requires_grad_().register_hook(lambda gradient: self.adam(place, gradient))
        return outliers

    @torch.no_grad()
    def adam(self, place, gradient):
        """A step of Adam of the outliers at int64 (K,) along the gradient (K, C)."""
        steps = self.steps[place] + 1
        first = DECAY[0] * self.moment[place] + (1 - DECAY[0]) * gradient
        second = DECAY[1] * self.second_moment[place] + (1 - DECAY[1]) * gradient ** 2
        deviation = torch.sqrt(second / (1 - DECAY[1] ** steps)) + EPSILON
        moved = self.outliers[place] - self.rate * first / (1 - DECAY[0] ** steps) / deviation
        buffers = self.steps, self.moment, self.second_moment, self.outliers
        for buffer, value in zip(buffers, (steps, first, second, moved), strict=True):
            buffer.index_copy_(0, place, value)

    @staticmethod
    def penalty(outliers, crowd):
        """mu sum_i (sum of item i's squared outliers + 1e-10)^(p/2) over the items with labels; outliers: (K, C)."""
        squares = outliers.new_zeros(len(crowd)).index_add(0, crowd.item, (outliers ** 2).sum(1))
        return OUTLIERS * torch.where(crowd.counts > 0, (squares + FLOOR) ** (POWER / 2), 0).sum()
