"""The robust learners of KD-Crowd's first stage: students that model no annotators. Each is a file here, a RobustLearner
that takes the teacher's predictions as noisy labels; its predictions for the training items are the refined labels of the
second stage."""
from common.kd_crowd.dividemix import DivideMix
from common.kd_crowd.elr import ELR

ROBUST = {"elr": ELR, "dividemix": DivideMix}
