"""The methods, in the order of the papers' tables. A new one is a file here and a word below."""
from common.methods.aggnet import AggNet
from common.methods.conal import CoNAL
from common.methods.crowd_layer import CrowdLayer
from common.methods.doctor_net import DoctorNet
from common.methods.geo_crowd_net import GeoCrowdNetF, GeoCrowdNetW
from common.methods.kd_crowd import kd_crowd
from common.methods.label_model import DawidSkene, MajorityVote, OneCoin
from common.methods.max_mig import MaxMIG
from common.methods.mbem import MBEM
from common.methods.method import Batch, Method, Setting
from common.methods.trace_reg import TraceReg
from common.methods.true_label import TrueLabel
from common.methods.union_net import UnionNet

BASE = (MajorityVote, DawidSkene, OneCoin, CrowdLayer, DoctorNet, AggNet, MBEM, TraceReg, CoNAL, UnionNet, GeoCrowdNetF,
        GeoCrowdNetW, MaxMIG, TrueLabel)
LABEL_MODELS = tuple(method.name for method in BASE if method.aggregates)
METHODS = {method.name: method for base in BASE
           for method in ((base, kd_crowd(base)) if base.models_annotators else (base,))}
PAPER_METHODS = ("majority-vote", "crowd-layer", "doctor-net", "aggnet", "mbem", "max-mig", "true-label")  # LabelMe's table
SYNTHESIZED_METHODS = tuple(name for name in PAPER_METHODS if name != "mbem")  # and on synthesized crowds
FIELD_METHODS = tuple(method.name for method in BASE)  # what else is compared with, and the papers' own
UPPER_BOUND = TrueLabel.name  # no rival: it is told the truth
FORECASTER = "-forecaster"  # a method's forecaster is reported under the method's name with this behind it


def taught(names):
    """[(teacher, method)]: the methods among `names` that have a teacher, where it is among them too."""
    return [(method.teacher, name) for name, method in METHODS.items() if {method.teacher, name} <= set(names)]


__all__ = ["FIELD_METHODS", "FORECASTER", "LABEL_MODELS", "METHODS", "PAPER_METHODS", "SYNTHESIZED_METHODS", "Batch",
           "Method", "Setting", "UPPER_BOUND", "taught"]
