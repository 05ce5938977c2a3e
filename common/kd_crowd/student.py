"""What a student learns of its teacher's predictions."""
import torch

from common.crowd.labels import class_shares
from common.losses import label_mig_loss, mig_loss, trainable
from common.methods.method import Method, one_hot

FLOOR = 1e-6  # of a teacher's probability, where its logarithm is taken


class Student(Method):
    """A Method that is taught `targets`, a teacher's predictions for all training items, (N, C).

    The prior of its MIG losses is `class_shares` of the targets: with another one, a class that is rare in them would be
    learnt as a frequent one.
    """

    def __init__(self, setting):
        super().__init__(setting)
        self.register_buffer("targets", setting.distillation.targets, persistent=False)
        self.register_buffer("kd_log_prior", torch.log(class_shares(self.targets)), persistent=False)
        self.kd_loss, self.kd_divergence = setting.distillation.loss, trainable(setting.constants.divergence)

    def distillation(self, log_p, targets):
        """A scalar: -MIG^f between the student's log-probabilities log_p (B, C) and the teacher's probabilities
        targets (B, C), or, for --kd-loss kl, the mean of KL(teacher || student).

        MIG^f keeps the information that both share; KL makes the student learn all of the teacher, its errors too.
        """
        if self.kd_loss == "mig":
            return mig_loss(log_p, torch.log(targets.clamp(min=FLOOR)), self.kd_log_prior, self.kd_divergence)
        return self.label_loss(log_p, targets)

    def label_loss(self, log_p, labels, used=None, log_prior=None):
        """A scalar: what the student loses when the teacher's predictions are taken as noisy labels, labels (B, C):
        -MIG^f between the student and a label drawn from them, or, for --kd-loss kl, the mean of KL(labels || student).

        Unlike the distillation it is linear in the labels, and where they are unsure it leaves the student unsure.
        used: bool (B,), the items that count, all by default; log_prior: (C,), of the classes among their labels, by default
        `kd_log_prior`.
        """
        if self.kd_loss == "mig":
            log_prior = self.kd_log_prior if log_prior is None else log_prior
            return label_mig_loss(log_p, labels, log_prior, self.kd_divergence, used)
        divergence = (labels * (torch.log(labels.clamp(min=FLOOR)) - log_p)).sum(1)
        if used is None:
            return divergence.mean()
        return torch.where(used, divergence, 0).sum() / used.sum().clamp(min=1)


class RobustLearner(Student):
    """A Student that takes the teacher's most probable classes as noisy labels: `hard`, float32 (N, C), one-hot.

    Robust learners are made for such labels. Next to ELR's regularisation the soft labels of an unsure teacher weigh too
    little: the student keeps its first predictions and can miss classes.
    """

    def __init__(self, setting):
        super().__init__(setting)
        self.register_buffer("hard", one_hot(self.targets.argmax(1), self.targets.shape[1]), persistent=False)
        self.register_buffer("hard_log_prior", torch.log(class_shares(self.hard)), persistent=False)
