"""EM with training in each M-step: what AggNet and MBEM share, and AggNet (Albarqouni et al., 2016)."""
import torch

from common.crowd.labels import confusion_from
from common.methods.method import Method, soft_cross_entropy

PI_FLOOR, PRIOR_FLOOR = 1e-6, 1e-12  # of a probability: nothing alone rules a class out


def e_step(crowd, confusion, prior):
    """(N, C): the posterior q, q_i(c) proportional to prior_i(c) prod_m pi^m[c, y_i^m].

    confusion: pi, (M, C, C), rows the true class; prior: (N, C) or (C,).
    """
    table = torch.log(confusion.clamp(min=PI_FLOOR)).transpose(1, 2).reshape(-1, crowd.classes)
    return torch.softmax(crowd.evidence(table) + torch.log(prior.clamp(min=PRIOR_FLOOR)), 1)


class EM(Method):
    """h is trained on `posterior`, q of all training items, (N, C), which a subclass revises after each M-step.

    Starts from q = Q, the setting's posterior. Items without labels are not trained on.
    """

    @classmethod
    def has_start(cls, protocol):
        return True

    def __init__(self, setting):
        super().__init__(setting)
        self.crowd = setting.crowd
        self.register_buffer("posterior", setting.posterior())
        self.register_buffer("epochs", torch.tensor(0))
        self.em_epochs = setting.constants.em_epochs

    def loss_from(self, logits, batch):
        return soft_cross_entropy(logits, self.posterior[batch.items] * (batch.crowd.counts > 0)[:, None])

    def end_epoch(self, predict_train):
        self.epochs += 1
        if self.epochs % self.em_epochs == 0:
            self.posterior = self.revise(predict_train())

    def revise(self, h):
        """The new q, (N, C), of the classifier's probabilities h (N, C)."""
        raise NotImplementedError

    def aggregate(self, h):
        return self.posterior


class AggNet(EM):
    """pi is counted from q, then q is proportional to h(x) prod_m pi^m[c, y^m].

    With two classes the first q comes from the pi counted of Q alone.
    """
    name = "aggnet"

    def __init__(self, setting):
        super().__init__(setting)
        if self.crowd.classes == 2:
            self.posterior = self.revise(torch.full_like(self.posterior, .5))

    def revise(self, h):
        return e_step(self.crowd, confusion_from(self.crowd, self.posterior), h)
