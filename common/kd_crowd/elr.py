"""ELR, early-learning regularisation (Liu, Niles-Weed, Razavian & Fernandez-Granda, NeurIPS 2020)."""
import torch

from common.kd_crowd.student import RobustLearner

STRENGTH, MOMENTUM = 3., .7  # lambda and beta, the paper's for CIFAR-10

EDGE = 1e-4  # predictions are kept this far from 0 and 1


class ELR(RobustLearner):
    """loss = label_loss + lambda mean_i log(1 - <p_i, t_i>), t_i <- beta t_i + (1 - beta) p_i: the running mean of an
    item's own predictions holds against the noise that is memorised later. The published label loss is cross-entropy; here
    it is -MIG^f (student.py), or cross-entropy with --kd-loss kl."""

    def __init__(self, setting):
        super().__init__(setting)
        self.register_buffer("running", torch.zeros_like(self.targets))

    def loss_from(self, logits, batch):
        log_p = torch.log_softmax(logits, 1)
        p = log_p.exp().clamp(EDGE, 1 - EDGE)
        with torch.no_grad():
            self.running[batch.items] = (MOMENTUM * self.running[batch.items]
                                         + (1 - MOMENTUM) * p / p.sum(1, keepdim=True))
        label_loss = self.label_loss(log_p, self.hard[batch.items], log_prior=self.hard_log_prior)
        return label_loss + self.regularisation(p, self.running[batch.items])

    @staticmethod
    def regularisation(p, running):
        """lambda mean_i log(1 - <p_i, t_i>); p, running: (B, C)."""
        return STRENGTH * torch.log(1 - (p * running).sum(1)).mean()
