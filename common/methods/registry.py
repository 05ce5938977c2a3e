"""The methods' classes by their names."""
from common import names
from common.kd_crowd.kd_crowd import kd_crowd
from common.methods.aggnet import AggNet
from common.methods.aggregate_then_train import DawidSkene, MajorityVote, OneCoin
from common.methods.annot_mix import AnnotMix
from common.methods.coin_net import COINNet
from common.methods.conal import CoNAL
from common.methods.crowd_layer import CrowdLayer
from common.methods.doctor_net import DoctorNet
from common.methods.geo_crowd_net import GeoCrowdNetF, GeoCrowdNetW
from common.methods.max_mig import MaxMIG
from common.methods.mbem import MBEM
from common.methods.trace_reg import TraceReg
from common.methods.true_label import TrueLabel
from common.methods.union_net import UnionNet

_classes = {kind.name: kind for kind in (
    MajorityVote, DawidSkene, OneCoin, CrowdLayer, DoctorNet, AggNet, MBEM, TraceReg, CoNAL, UnionNet, GeoCrowdNetF,
    GeoCrowdNetW, COINNet, AnnotMix, MaxMIG, TrueLabel)}
METHODS = {name: kd_crowd(_classes[names.TEACHERS[name]]) if name in names.TEACHERS else _classes[name]
           for name in names.METHODS}
