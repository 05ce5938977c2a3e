"""The names of methods and of flags' choices; without torch, so that --help need not wait for it.

A new method is a file in common/methods/, a name here and its class in common/methods/registry.py.
"""
MAJORITY_VOTE = "majority-vote"
AGGREGATE_THEN_TRAIN = (MAJORITY_VOTE, "dawid-skene", "one-coin")  # their posterior needs no classifier
# with a model of the annotators: KD-Crowd may start from any
CROWD_MODELS = ("crowd-layer", "doctor-net", "aggnet", "mbem", "trace-reg", "conal", "union-net", "geo-crowd-net-f",
                "geo-crowd-net-w", "coinnet", "annot-mix", "max-mig")
UPPER_BOUND = "true-label"  # no competitor: it is trained on the truth
FIELD_METHODS = (*AGGREGATE_THEN_TRAIN, *CROWD_MODELS, UPPER_BOUND)  # --methods field
PAPER_METHODS = ("majority-vote", "crowd-layer", "doctor-net", "aggnet", "mbem", "max-mig", "true-label")  # LabelMe's table
SYNTHESIZED_METHODS = tuple(name for name in PAPER_METHODS if name != "mbem")  # the tables of synthesized crowds
STAGES = 3  # of KD-Crowd: the crowd model, its student, the crowd model with the student as its teacher
TEACHERS = {f"kd-crowd-{name}": name for name in CROWD_MODELS}
WITH_DIVERGENCE = {"max-mig", *TEACHERS}  # methods whose loss has --divergence
METHODS = tuple(each for name in FIELD_METHODS for each in (name, f"kd-crowd-{name}") if each in (name, *TEACHERS))
FORECASTER = "-forecaster"  # behind a method's name: the name of its forecaster
STUDENTS = ("elr", "dividemix")  # KD-Crowd's robust learners

STARTS = ("votes", "dawid-skene", "label-model")  # the posterior from which the annotators' models start
AUTO = "auto"  # --start: the one of them that predicts held-out labels best

AGGREGATORS = ("glad", "mace", "ebcc")  # further aggregators, for answers alone
LABEL_MODEL = "label-model"  # the label estimate of common/crowd/bayes.py
POSTERIOR = "-posterior"  # behind a method's name: the label model's posterior with the method's predictions
ENSEMBLE = "ensemble"  # the mean of the best methods' classifiers

DIVERGENCES = ("kl", "reverse-kl", "pearson", "jensen-shannon", "hellinger", "total-variation")
DUPLICATES = ("last", "first", "count", "error")  # which of an annotator's labels of one item counts
FITS = ("crop", "stretch", "pad")  # how an image becomes a square
LITE0, TIMM = "efficientnet-lite0", "timm/"  # --backbone: the project's own, and what stands before a name of timm's
MINILM = "all-minilm-l6-v2"  # --backbone of texts
OWN_NETWORKS = ("small", "four-conv", "vgg16")  # what --network may be besides torchvision's


def teacher_student_pairs(names):
    """[(teacher, student)] of the methods' names."""
    return [(teacher, student) for student, teacher in TEACHERS.items() if {teacher, student} <= set(names)]
