"""What the papers claim, and the verdict of the records in results/ on each claim and data set."""
from dataclasses import dataclass

from common.names import CROWD_MODELS, PAPER_METHODS, TEACHERS, UPPER_BOUND, teacher_student_pairs
from common.reproduce.comparisons import Comparison, compare
from common.reproduce.read_records import of_corrected_kd_crowd, read_runs, series

NEAR = .02  # how far below the true labels' accuracy is near
BASELINES = tuple(name for name in PAPER_METHODS if name not in ("max-mig", UPPER_BOUND))
LEARNERS = {"elr": "ELR", "dividemix": "DivideMix"}
CORRECTION = "29 November 2026"  # of KD-Crowd: earlier runs of it do not count


def ahead_of_baselines(runs):
    """Max-MIG in each cell beside the best baseline that it is not ahead of, or else beside the best one."""
    comparisons = []
    for cell, values, items in series(runs, "last_accuracy"):
        rivals = [compare(cell, values.get("max-mig", {}), values.get(name, {}), name, items=items) for name in BASELINES]
        rivals = [rival for rival in rivals if rival]
        if rivals:
            to_beat = [rival for rival in rivals if not rival.ahead] or rivals
            comparisons.append(max(to_beat, key=lambda rival: rival.rival_value.mean))
    return comparisons


def near_the_truth(runs):
    """In each cell Max-MIG beside the classifier that is trained on the true labels."""
    comparisons = []
    for cell, values, _ in series(runs, "last_accuracy"):
        comparisons.append(compare(cell, values.get("max-mig", {}), values.get(UPPER_BOUND, {}), UPPER_BOUND, margin=-NEAR))
    return list(filter(None, comparisons))


def ahead_of_crowd_models(runs):
    """Each KD-Crowd beside its crowd model, with each robust learner."""
    return _pairs(runs, "last_accuracy")


def ahead_of_as_many_epochs(runs):
    """Each KD-Crowd beside its crowd model in the runs without KD-Crowd, which have as many epochs as its three stages."""
    taught, alone = ([run for run in runs if bool(TEACHERS.keys() & run.values.keys()) is has] for has in (True, False))
    return _pairs(taught, "last_accuracy", teachers={cell: values for cell, values, _ in series(alone, "last_accuracy")})


def ahead_at_the_selected_epoch(runs):
    """The selected epoch of each KD-Crowd beside that of its crowd model."""
    return _pairs(runs, "selected_accuracy")


def memorizes_less(runs):
    """The share of the annotators' errors that each KD-Crowd repeats, beside its crowd model."""
    return _pairs(runs, "memorized", lower=True)


def better_matrices(runs):
    """E_m of each KD-Crowd, beside its crowd model."""
    return _pairs(runs, "annotator_error", lower=True)


def _pairs(runs, measure, lower=False, teachers=None):
    """[Comparison] of each KD-Crowd with its crowd model.

    teachers: {cell: {method: {seed: value}}} of the crowd models; by default they are those of the same runs.
    """
    comparisons = []
    for learner, title in LEARNERS.items():
        mine = [run for run in runs if run.flags["robust"] == learner and run.flags.get("kd_loss", "mig") == "mig"]
        for cell, values, items in series(mine, measure):
            rivals = values if teachers is None else teachers.get(cell, {})
            for teacher, student in teacher_student_pairs(values):
                comparisons.append(compare(cell, values[student], rivals.get(teacher, {}), teacher, title, items, lower))
    return list(filter(None, comparisons))


def ahead_of_kl(runs):
    """Each KD-Crowd with distillation by the MIG loss beside the same by KL."""
    by_loss = {loss: {cell: (values, items) for cell, values, items in series(
        [run for run in runs if run.flags.get("kd_loss") == loss], "last_accuracy")} for loss in ("mig", "kl")}
    comparisons = []
    for cell, (values, items) in by_loss["mig"].items():
        kl, _ = by_loss["kl"].get(cell, ({}, None))
        comparisons += [compare(cell, values[name], kl[name], TEACHERS[name], "MIG loss", items)
                        for name in values if name in TEACHERS and name in kl]
    return list(filter(None, comparisons))


@dataclass(frozen=True)
class Claim:
    """A statement, a paper's or one of ours, and the function of runs that returns its [Comparison], which must hold. title:
    of the table of its pairs, if it compares pairs."""
    text: str
    comparisons: object
    unit: str = "cells"
    title: str = ""
    of_paper: bool = True
    percent: bool = True
    kd_crowd: bool = True  # whether runs from before the correction of KD-Crowd do not count
    beside: str = "alone"  # what the rival is called; "" for its name


AHEAD = Claim("Max-MIG is ahead of every baseline", ahead_of_baselines, kd_crowd=False, beside="")
NEAR_TRUTH = Claim("Max-MIG is near the true labels", near_the_truth, kd_crowd=False, beside="")
KD_AHEAD = Claim("KD-Crowd is ahead of its crowd model", ahead_of_crowd_models, "pairs",
                 "crowd model alone → KD-Crowd, test accuracy (%)")
KD_AS_LONG = Claim("KD-Crowd is ahead of its crowd model with as many epochs", ahead_of_as_many_epochs, "pairs",
                   "crowd model alone with as many epochs as the three stages → KD-Crowd, test accuracy (%)", of_paper=False)
KD_SELECTED = Claim("KD-Crowd is ahead of its crowd model, selected epochs", ahead_at_the_selected_epoch, "pairs",
                    "crowd model alone → KD-Crowd, test accuracy of the selected epochs (%)", of_paper=False)
KD_LOSS = Claim("the MIG loss distils better than KL", ahead_of_kl, "pairs",
                "KL → MIG loss, test accuracy of KD-Crowd (%)", beside="by KL")
MEMORIZED = Claim("KD-Crowd repeats fewer annotators' errors", memorizes_less, "pairs",
                  "crowd model alone → KD-Crowd, share of the annotators' errors that it repeats (%)")
MATRICES = Claim("KD-Crowd has better confusion matrices", better_matrices, "pairs",
                 "crowd model alone → KD-Crowd, E_m (the mean error of the empirical confusion matrices)", percent=False)


@dataclass(frozen=True)
class Source:
    """Which folders of results/ a claim's verdict on a data set comes from. size: how many comparisons the claim is about;
    page: of docs/results/, has the full commands; command: the short one, where there is one."""
    claim: Claim
    data: str
    folders: tuple
    size: int
    page: str
    command: str = ""


SIX = 6  # cells: three cases, each with two expertises
PAIRS = len(LEARNERS) * sum(name in CROWD_MODELS for name in PAPER_METHODS)  # KD-Crowd on each crowd model by each learner
SYNTHESIZED = (("digits", ("digits",), SIX, "digits.md", "digits --seeds 5"),
               ("CIFAR-10", ("cifar10-h100",), SIX, "cifar10.md", "cifar10 --seeds 1 --cases 2,3 --expertise 1 --path DATA"),
               ("Dogs vs. Cats", ("dogs-vs-cats",), SIX, "dogs-vs-cats.md", "dogs-vs-cats --seeds 1 --path DATA"),
               ("LUNA16", ("luna16-high", "luna16-low"), SIX, "luna16.md", "luna16 --seeds 1 --path DATA"),
               ("LabelMe", ("labelme-field",), 1, "labelme.md"))
DIGITS = "digits", ("digits-kd-elr", "digits-kd-dividemix"), SIX * PAIRS, "digits.md"
LABELME = "LabelMe", ("labelme-kd-elr", "labelme-kd-dividemix"), PAIRS, "labelme.md"
CIFAR10H = "CIFAR-10H", ("cifar10h-kd-elr", "cifar10h-kd-dividemix"), 2 * len(LEARNERS), "cifar10h.md"  # two models
SOURCES = (
    *(Source(claim, *source) for claim in (AHEAD, NEAR_TRUTH) for source in SYNTHESIZED),
    *(Source(KD_AHEAD, *source) for source in (DIGITS, LABELME, CIFAR10H)),
    Source(KD_AHEAD, "CIFAR-10", (), SIX * PAIRS, "cifar10.md"),
    *(Source(KD_AS_LONG, data, (*folders, alone), size, page) for (data, folders, size, page), alone in (
        (DIGITS, "digits-alone"), (LABELME, "labelme-alone"), (CIFAR10H, "cifar10h-kd-alone"))),
    *(Source(KD_SELECTED, *source) for source in (LABELME, CIFAR10H)),
    Source(KD_LOSS, "LabelMe", ("labelme-kd-elr", "labelme-kd-elr-kl"), 2, "labelme.md"),
    *(Source(claim, *source) for claim in (MEMORIZED, MATRICES) for source in (DIGITS, LABELME)),
)


@dataclass(frozen=True)
class Judgement:
    """A source, its comparisons, the number of runs that do not count, and how far stopped runs came ("" without any)."""
    source: Source
    comparisons: list[Comparison]
    old: int
    stopped: str

    @property
    def ahead(self):
        """How many comparisons are as the claim says."""
        return sum(comparison.ahead for comparison in self.comparisons)

    @property
    def missing(self):
        """How many of the claim's comparisons were not run."""
        return self.source.size - len(self.comparisons)

    @property
    def verdict(self):
        if not self.comparisons:
            return "not run"
        if not self.ahead:
            return "not confirmed"
        one_seed = any(comparison.value.seeds == 1 for comparison in self.comparisons)
        return "partly" if self.ahead < len(self.comparisons) or self.missing or one_seed else "confirmed"


RULE = f"""A comparison holds if the mean difference over seeds is above its standard error. With one seed that is the
standard error of two shares of the test items; of E_m and of repeated errors any fall counts then. Near means at most
{100 * NEAR:.0f} points below the true labels.

- **confirmed:** it holds in all of the paper's cells and for all pairs, with two seeds or more.
- **partly:** it holds in some, in all that were run, or in all with one seed.
- **not confirmed:** it holds in none. **not run:** no run counts.
- A cell is a case and expertise; LabelMe and CIFAR-10H have one. A pair is a crowd model and KD-Crowd on it, by ELR or
  by DivideMix.
- The baselines are the paper's: {", ".join(BASELINES)} (mbem on LabelMe alone).
- The rival is the best baseline that Max-MIG is not ahead of, or else the best one.
- Numbers are of the last epoch. Of several comparisons the first table has the worst and the best.
- Runs of KD-Crowd from before its correction of {CORRECTION} do not count."""


def judge(results, sources=SOURCES):
    """[Judgement] of the records in the folder results/."""
    judgements = []
    for source in sources:
        runs = [run for name in source.folders for run in read_runs(results / name)]
        counted = [run for run in runs if of_corrected_kd_crowd(run)] if source.claim.kd_crowd else runs
        stopped = sorted({run.stopped for run in counted if run.stopped})
        judgements.append(Judgement(source, source.claim.comparisons(counted), len(runs) - len(counted),
                                    "".join(stopped[-1:])))
    return judgements
