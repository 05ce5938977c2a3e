"""AggNet (Albarqouni et al., 2016): EM, with one epoch of training in each M-step."""
import torch

from common.crowd import confusion_from, vote_shares
from common.methods.method import Method, soft_cross_entropy

FLOOR = 1e-6  # of an entry of pi: one label alone never rules a class out


def posterior(crowd, confusion, log_prior):
    """E-step, (N, C): q_i(c) proportional to prior_i(c) prod_m pi^m[c, y_i^m].

    confusion: pi, (M, C, C), rows the true class; log_prior: (N, C) or (C,).
    """
    table = torch.log(confusion.clamp(min=FLOOR)).transpose(1, 2).reshape(-1, crowd.classes)
    return torch.softmax(crowd.evidence(table) + log_prior, 1)


class AggNet(Method):
    """h is trained on q; after each epoch pi is counted from q, then q is proportional to h(x) prod_m pi^m[c, y^m].

    Starts from q = Q, the shares of the votes; with two classes from the pi counted of Q alone. Items without
    labels train nobody.
    """
    name = "aggnet"

    def __init__(self, setting):
        super().__init__(setting)
        self.crowd = setting.crowd
        belief = vote_shares(self.crowd)
        if self.crowd.classes == 2:
            uniform = torch.zeros(2, device=belief.device)
            belief = posterior(self.crowd, confusion_from(self.crowd, belief), uniform)
        self.register_buffer("belief", belief)

    def loss(self, batch):
        target = self.belief[batch.items] * (batch.crowd.counts > 0)[:, None]
        return soft_cross_entropy(self.classifier(batch.inputs), target)

    def end_epoch(self, predict_train):
        pi = confusion_from(self.crowd, self.belief)
        self.belief = posterior(self.crowd, pi, torch.log(predict_train().clamp(min=1e-12)))

    def aggregate(self, predict_train, crowd):
        return self.belief
