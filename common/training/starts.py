"""The posterior from which each method's models of the annotators start, chosen without the truth (--start auto)."""
from collections import Counter
from dataclasses import replace

from common.methods.registry import METHODS
from common.names import AUTO, STARTS, TEACHERS
from common.system.errors import echo
from common.training.epoch import end_epoch, train_folds
from common.training.stages import build_stage

PILOT = 3  # a third of the epochs are trained from each start


def names_with_start(protocol, options):
    """The methods whose start is chosen; none unless options.start is auto."""
    return [name for name in options.methods
            if options.start == AUTO and name not in TEACHERS and METHODS[name].has_start(protocol)]


def choose_starts(dataset, protocol, options, plan, device, precision, executor):
    """{method: [a start for each fold]} with --start auto, else {}.

    Each fold of a method is trained from each of STARTS for a third of the epochs. The start whose classifier then predicts
    the fold's held-out labels best is chosen, by their log-likelihood (held_out.score).
    """
    names = names_with_start(protocol, options)
    best = {name: [(float("-inf"), STARTS[0])] * len(plan.folds) for name in names}
    for start in STARTS if names else ():
        trial = replace(options, start=start, methods=names, epochs=max(1, options.epochs // PILOT))
        learners = build_stage(0, [], dataset, protocol, trial, device, precision, plan.folds, executor)
        for epoch in range(1, trial.epochs + 1):
            train_folds(learners, dataset.train, plan, epoch, trial, 0)
            learners = [learner for learner in learners if not learner.failure]
            end_epoch(learners, dataset.train)
        for name, scores in plan.score_folds(learners, dataset.train).items():
            best[name] = [max(pair, (score, start)) for pair, score in zip(best[name], scores, strict=True)]
    chosen = {name: [start for _, start in pairs] for name, pairs in best.items()}
    for name, starts in chosen.items():
        counts = ", ".join(f"{start} in {count}" for start, count in Counter(starts).items())
        echo(f"--start auto: {name} starts from {counts} of {len(plan.folds)} folds")
    return chosen


def are_starts(value, protocol, options, folds):
    """Whether a value from a checkpoint can be what `choose_starts` has returned, with so many folds."""
    return isinstance(value, dict) and set(value) == set(names_with_start(protocol, options)) and all(
        isinstance(starts, list) and len(starts) == folds and all(start in STARTS for start in starts)
        for starts in value.values())
