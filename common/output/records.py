"""config.json and summary.json: what a run was started with, and what it found."""
import json
from dataclasses import dataclass, field

from common.data.opening import MB, read_bytes
from common.output.files import CONFIG, SUMMARY
from common.system.errors import UserError

OLD_NAMES = {"candidates": "label_estimates", "labels_from": "label_source"}  # in records until November 2026
LARGEST_RECORD = 100 * MB  # of config.json and summary.json: the names of the classes are in them


@dataclass
class Config:
    """What config.json holds: what a run was started with. A run goes on if `dataset`, `run` and `data` are the same."""
    dataset: str
    flags: dict  # all flags with their values
    run: dict  # those that must be the same for a run to go on, the precision and the kind of device
    data: dict  # sizes and checksums of the data (Dataset.describe)
    device: str  # the name of the processor or GPU
    threads: int  # of each method that is trained beside others
    side_by_side: int  # how many methods are trained at once
    versions: dict  # of Python and the libraries
    commit: str | None  # of this code
    date: str  # on which the run began


@dataclass
class Summary:
    """What summary.json holds: what a finished run found. Accuracies are shares of the items whose truth is known, None
    without any."""
    methods: dict  # {method: its scores, see training.finish}
    items: int  # training items
    annotators: int
    labels: int
    seconds: float
    peak_memory_mb: float
    best_method: str | None = None  # with the best held-out log-likelihood
    classifier: str | None = None  # whose model.pt is: a method, or the ensemble
    ensemble: dict = field(default_factory=dict)  # its shares {method: share}, test_accuracy and test_auc
    test_confusion: list = field(default_factory=list)  # counts of the final classifier, rows the true class
    label_source: str | None = None  # the label estimate that labels.csv follows
    label_accuracy: float | None = None  # of labels.csv
    calibration_error: float | None = None  # of its confidence
    label_estimates: dict = field(default_factory=dict)  # {label estimate: accuracy}
    label_shares: list = field(default_factory=list)  # of the classes in labels.csv
    majority_vote_accuracy: float | None = None
    outvoted: int | None = None  # items whose label has fewer votes than another class
    annotator_correlation: dict = field(default_factory=dict)  # {estimate: Spearman's, with the true accuracies}
    flags: dict = field(default_factory=dict)  # {flag: how many annotators have it}
    copies: list = field(default_factory=list)  # pairs of annotators, with the evidence
    agreement: dict = field(default_factory=dict)  # Krippendorff's alpha, Fleiss' kappa, with 95 % intervals


def read_record(path):
    """The JSON dictionary in a file, or None where there is no file. Raises ValueError where there is something else."""
    if not path.exists():
        return None
    try:
        value = json.loads(read_bytes(path, LARGEST_RECORD).decode())
    except (UserError, ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(value, dict):
        raise ValueError("not a dictionary")
    return value


def read_config(folder):
    """The record in a run's config.json; None where there is none, or no such thing."""
    try:
        config = read_record(folder / CONFIG)
    except ValueError:
        return None
    kinds = {"flags": dict, "run": dict, "versions": dict, "device": str, "threads": int}
    whole = config and all(isinstance(config.get(name), kind) for name, kind in kinds.items()) and (
        {"seed", "methods"} <= set(config["flags"]) and "precision" in config["run"] and "torch" in config["versions"]
        and isinstance(config.get("commit", 0), str | None))
    return config if whole else None


def read_summary(folder):
    """What a finished run left in summary.json; None where there is none, or no such thing."""
    try:
        summary = read_record(folder / SUMMARY)
    except ValueError:
        return None
    for old, new in OLD_NAMES.items():
        if summary and old in summary:
            summary.setdefault(new, summary.pop(old))
    return summary if summary and _is_summary(summary) else None


def _is_summary(summary):
    """Whether a dictionary has what every run's summary has, of the right kinds."""
    def is_number(value):
        return value is None or isinstance(value, int | float)

    def is_score(value):
        return value is None or isinstance(value, dict) and all(map(is_number, value.values())) and {
            "test_accuracy", "test_auc"} <= set(value)

    def is_method(value):
        return (isinstance(value, dict) and {"last", "best", "best_epoch", "train_label_accuracy", "seconds"} <= set(value)
                and all(is_score(value.get(name)) for name in ("last", "best", "selected"))
                and all(is_number(value.get(name)) for name in (
                    "train_label_accuracy", "seconds", "held_out_log_likelihood")))
    methods, estimates = summary.get("methods"), summary.get("label_estimates", {})
    return (isinstance(methods, dict) and isinstance(estimates, dict) and bool(methods)
            and all(map(is_method, methods.values())) and all(map(is_number, estimates.values()))
            and isinstance(summary.get("seconds"), int | float))
