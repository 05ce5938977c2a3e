"""What a student learns of its teacher's predictions."""
import torch

from common.divergences import mig_loss, trainable
from common.methods.method import Method

FLOOR = 1e-6  # of a teacher's probability, where its logarithm is taken


class Student(Method):
    """A Method that is taught `targets`, a teacher's predictions for all training items, (N, C)."""

    def __init__(self, setting):
        super().__init__(setting)
        self.register_buffer("targets", setting.targets, persistent=False)
        self.register_buffer("kd_log_prior", torch.log(setting.prior), persistent=False)
        self.kd_loss, self.kd_divergence = setting.kd_loss, trainable(setting.divergence)

    def distillation(self, log_p, targets, counts=None):
        """A scalar: -MIG^f between the student's log-probabilities log_p (B, C) and the teacher's probabilities
        targets (B, C), or, for --kd-loss kl, the mean of KL(teacher || student).

        MIG^f keeps the information that both share; KL makes the student learn all of the teacher, its errors too.
        counts: bool (B,), the items that count, all by default.
        """
        log_targets = torch.log(targets.clamp(min=FLOOR))
        if self.kd_loss == "mig":
            return mig_loss(log_p, log_targets, self.kd_log_prior, self.kd_divergence, counts)
        divergence = (targets * (log_targets - log_p)).sum(1)
        if counts is None:
            return divergence.mean()
        return torch.where(counts, divergence, 0).sum() / counts.sum().clamp(min=1)
