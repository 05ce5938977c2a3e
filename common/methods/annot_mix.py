"""annot-mix (Herde, Luehrs, Huseljic & Sick, ECAI 2024): mixup of items, annotators and labels together."""
import math

import torch
from torch import nn
from torch.nn import functional

from common.methods.coupled import FLOOR
from common.methods.method import Method
from common.networks.classifier import Dropout

HIDDEN = 128
ETA = .9  # an annotator's accuracy at the start
PREDICTED = 2**16  # labels whose matrices are held in memory at once


class AnnotMix(Method):
    """Coupled cross-entropy whose confusion matrices come from a network of the annotator and the item's features.

    Each label (item, annotator, class) is mixed with a random one of the batch, by a share from Beta(1, 1): the inputs, the
    annotators' one-hot codes and the one-hot classes. The classifier runs on the mixed inputs, as many as there are labels.
    """
    name = "annot-mix"
    draws = True

    def __init__(self, setting):
        super().__init__(setting)
        crowd = self.crowd = setting.crowd
        classes, device = crowd.classes, crowd.label.device
        edge = 1 / math.sqrt(max(crowd.annotators, 1))  # as of torch's linear map of one-hot codes
        self.people = nn.Parameter(torch.empty(crowd.annotators, HIDDEN, device=device).uniform_(-edge, edge))
        self.item = nn.Linear(self.classifier.head.in_features, HIDDEN)
        self.joint = nn.Sequential(Dropout(.5), nn.Linear(2 * HIDDEN, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(),
                                   nn.Linear(HIDDEN, classes * classes))
        start = math.log(ETA * max(classes - 1, 1) / (1 - ETA)) * torch.eye(classes)
        with torch.no_grad():
            self.joint[-1].bias.copy_(start.flatten())
        self.register_buffer("matrices", torch.softmax(start, 1).repeat(crowd.annotators, 1, 1).to(device))

    def loss(self, batch):
        crowd, item = batch.crowd, batch.crowd.item
        if len(item) < 2:  # the batch norm needs two
            return 0. * sum(parameter.sum() for parameter in self.parameters())
        # drawn on the CPU: the same on every device
        share = torch.rand(len(item)).to(item.device, non_blocking=True)
        other = torch.randperm(len(item)).to(item.device, non_blocking=True)
        inputs = mix(batch.inputs[item].to(self.people.dtype), share, other)
        features = self.classifier.features(inputs)
        matrices = self.matrices_of(mix(functional.embedding(crowd.annotator, self.people), share, other), features.detach())
        h = torch.softmax(self.classifier.head(features), 1)
        log_fitted = torch.log(torch.bmm(h[:, None], matrices)[:, 0].clamp(min=FLOOR))
        target = mix(functional.one_hot(crowd.label.long(), crowd.classes).to(h), share, other)
        return -(target * log_fitted).sum() / len(item)

    def loss_from(self, logits, batch):
        """The loss; the logits of the inputs as they are have no part in it."""
        return AnnotMix.loss(self, batch)

    def matrices_of(self, people, features):
        """(K, C, C): the confusion matrices of annotators, codes (K, 128), for items of these features (K, F)."""
        logits = self.joint(torch.cat([people, self.item(features)], 1))
        return torch.softmax(logits.view(-1, self.crowd.classes, self.crowd.classes), 2)

    def end_epoch(self, predict_train):
        """An annotator's matrix is the mean over the annotator's items, uniform for one without labels."""
        features, crowd = predict_train(self.classifier.features), self.crowd
        self.eval()
        total = torch.zeros_like(self.matrices)
        for item, annotator in zip(crowd.item.split(PREDICTED), crowd.annotator.split(PREDICTED), strict=True):
            total.index_add_(0, annotator, self.matrices_of(functional.embedding(annotator, self.people), features[item]))
        count = torch.bincount(crowd.annotator, minlength=crowd.annotators)[:, None, None]
        self.matrices = torch.where(count > 0, total / count.clamp(min=1), 1 / crowd.classes)

    def confusion(self, posterior, crowd):
        return self.matrices


def mix(values, share, other):
    """share of values (K, ...) and 1 - share of those of the others; share: (K,), other: int64 (K,)."""
    share = share.view(-1, *[1] * (values.dim() - 1))
    return share * values + (1 - share) * values[other]
