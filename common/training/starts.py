"""The posterior from which each method's models of the annotators start, chosen without the truth (--start auto)."""
from collections import Counter
from dataclasses import replace

from common.methods.registry import METHODS
from common.names import AUTO, STARTS, TEACHERS
from common.output.run_state import has_ended
from common.system.errors import echo
from common.training.epoch import end_epoch, train_folds
from common.training.stages import build_stage


def names_with_start(experiment):
    """The methods whose start is chosen; none unless --start is auto."""
    return [name for name in experiment.options.methods if experiment.options.start == AUTO and name not in TEACHERS
            and METHODS[name].has_start(experiment.protocol)]


def choose_starts(experiment):
    """{method: [a start for each fold]} with --start auto, else {}.

    A method is trained from each of STARTS, with all folds. A fold has the start whose classifier predicts its held-out
    labels best, by their log-likelihood (held_out.score) at the epoch that is best for all folds together.
    """
    names = names_with_start(experiment)
    train, plan, options = experiment.train, experiment.plan, experiment.options
    best = {name: [(float("-inf"), STARTS[0])] * len(plan.folds) for name in names}
    for start in STARTS if names else ():
        trial = replace(options, start=start, methods=names)
        learners = build_stage(replace(experiment, options=trial), 0, [], {})
        selected = {}  # {method: its best epoch and the scores of its folds then}
        for epoch in range(1, options.epochs + 1):
            learners = [each for each in learners if not has_ended(selected.get(each.name), epoch - 1, options.patience)]
            if not learners:
                break
            train_folds(learners, train, plan, epoch, trial, 0)
            for learner in learners:
                if learner.failure:  # as it would in the run
                    selected.pop(learner.name, None)
            learners = [learner for learner in learners if not learner.failure]
            end_epoch(learners, train)
            for name, scores in plan.score_folds(learners, train).items():
                if name not in selected or sum(scores) > sum(selected[name]["scores"]):
                    selected[name] = {"epoch": epoch, "scores": scores}
        for name, kept in selected.items():
            best[name] = [max(pair, (score, start)) for pair, score in zip(best[name], kept["scores"], strict=True)]
    chosen = {name: [start for _, start in pairs] for name, pairs in best.items()}
    for name, starts in chosen.items():
        counts = ", ".join(f"{start} in {count}" for start, count in Counter(starts).items())
        echo(f"--start auto: {name} starts from {counts} of {len(plan.folds)} folds")
    return chosen


def are_starts(value, experiment):
    """Whether a value from a checkpoint can be what `choose_starts` has returned."""
    folds = len(experiment.plan.folds)
    return isinstance(value, dict) and set(value) == set(names_with_start(experiment)) and all(
        isinstance(starts, list) and len(starts) == folds and all(start in STARTS for start in starts)
        for starts in value.values())
