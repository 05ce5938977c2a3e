"""Doctor Net (Guan et al., AAAI 2018): a linear softmax head for each annotator on shared features."""
import torch
from torch import nn
from torch.nn import functional

from common.methods.method import Method


class DoctorNet(Method):
    """The prediction is the mean of the heads' probabilities, over the annotators who gave labels at all."""
    name = "doctor-net"

    def __init__(self, setting):
        super().__init__(setting)
        crowd = setting.crowd
        features = self.classifier.head.in_features
        self.classifier.head = nn.Linear(features, crowd.annotators * crowd.classes)
        active = torch.bincount(crowd.annotator, minlength=crowd.annotators) > 0
        self.register_buffer("weight", active / active.sum().clamp(min=1), persistent=False)

    def heads(self, logits):
        """(B, M, C) of the classifier's (B, M * C)."""
        return logits.unflatten(1, (len(self.weight), -1))

    def loss_from(self, logits, batch):
        crowd = batch.crowd
        fitted = self.heads(logits)[crowd.item, crowd.annotator]
        return functional.cross_entropy(fitted, crowd.label.long(), reduction="sum") / max(len(crowd.label), 1)

    def predict(self, inputs):
        return self.mean(self.classifier(inputs))

    def mean(self, logits):
        return torch.einsum("bmc,m->bc", torch.softmax(self.heads(logits), 2), self.weight)

    def head_weights(self):
        return self.weight

    def log_probabilities(self, logits):
        return torch.log(self.mean(logits).clamp(min=1e-12))
