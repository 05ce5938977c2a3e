"""Crowd Layer (Rodrigues & Pereira, AAAI 2018): a C x C matrix for each annotator on top of the classifier."""
import torch
from torch import nn

from common.methods.method import Method


class CrowdLayer(Method):
    """Annotator m's label of item i is fitted by log_softmax(h(x_i) W^m); the losses of the labels there are
    are averaged. The matrices start at the identity, or at the aggregator's initial weights."""
    name = "crowd-layer"

    @classmethod
    def has_start(cls, protocol):
        return protocol.crowd_layer_start == "aggregator"

    def __init__(self, setting):
        super().__init__(setting)
        crowd = setting.crowd
        if setting.constants.crowd_layer_start == "aggregator":
            start = setting.initial_weights()
        else:
            start = torch.eye(crowd.classes, device=crowd.label.device).repeat(crowd.annotators, 1, 1)
        self.matrices = nn.Parameter(start.flatten(1).contiguous())

    def loss_from(self, logits, batch):
        crowd = batch.crowd
        fitted = crowd.through(self.matrices, torch.softmax(logits, 1))
        return nn.functional.cross_entropy(fitted, crowd.label.long(), reduction="sum") / max(len(crowd.label), 1)

    def confusion(self, posterior, crowd):
        """What the layer says an annotator does with an item of class c: the softmax of row c of W^m."""
        return torch.softmax(self.matrices.detach().view(-1, crowd.classes, crowd.classes), 2)
