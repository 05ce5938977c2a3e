"""The methods, in the order of the papers' tables. A new one is a file here and a line below."""
from common.methods.aggnet import AggNet
from common.methods.crowd_layer import CrowdLayer
from common.methods.doctor_net import DoctorNet
from common.methods.kd_crowd import KDCrowdLayer, KDMaxMIG
from common.methods.majority_vote import MajorityVote
from common.methods.max_mig import MaxMIG
from common.methods.mbem import MBEM
from common.methods.method import Batch, Method, Setting
from common.methods.true_label import TrueLabel

METHODS = {method.name: method for method in (
    MajorityVote, CrowdLayer, KDCrowdLayer, DoctorNet, AggNet, MBEM, MaxMIG, KDMaxMIG, TrueLabel)}
PAPER_METHODS = tuple(name for name, method in METHODS.items() if not method.teacher)  # the Max-MIG paper's, LabelMe
SYNTHESIZED_METHODS = tuple(name for name in PAPER_METHODS if name != "mbem")  # and on synthesized crowds
FORECASTER = "-forecaster"  # a method's forecaster is reported under the method's name with this behind it


def taught(names):
    """[(teacher, method)]: the methods among `names` that have a teacher, where it is among them too."""
    return [(method.teacher, name) for name, method in METHODS.items() if {method.teacher, name} <= set(names)]


__all__ = ["FORECASTER", "METHODS", "PAPER_METHODS", "SYNTHESIZED_METHODS", "Batch", "Method", "Setting", "taught"]
