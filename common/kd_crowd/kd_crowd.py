"""KD-Crowd (Li et al., Frontiers of Computer Science 2025): a crowd model is taught by its own, corrected student.

Stage 0 trains the crowd model, the teacher. Stage 1 trains a robust learner without annotators (registry.py) on the
teacher's predictions. Stage 2 switches the roles: the crowd model goes on from stage 0 on the crowd's labels,
supervised as well by the student's refined predictions. That is the method here.
"""
from common.kd_crowd.student import Student


class KDCrowd(Student):
    """loss = the crowd model's + kd_weight * distillation of the refined labels."""

    def __init__(self, setting):
        super().__init__(setting)
        self.kd_weight = setting.distillation.weight

    def loss(self, batch):
        return self.loss_from(self.classifier(batch.inputs), batch)  # also where the base has no use for the logits

    def loss_from(self, logits, batch):
        distillation = self.distillation(self.log_probabilities(logits), self.targets[batch.items])
        return super().loss_from(logits, batch) + self.kd_weight * distillation


def kd_crowd(base):
    """The class of KD-Crowd on a crowd model, the class `base` of a Method."""
    return type(f"KD{base.__name__}", (KDCrowd, base), {"name": f"kd-crowd-{base.name}", "teacher": base.name})
