"""The training loop: stages, epochs, evaluation and checkpoints."""
import contextlib
import time

import torch

from common.evaluation import metrics
from common.names import FORECASTER, STAGES, TEACHERS
from common.output import csv_files
from common.output.console import say_ended, say_epoch, say_start, say_time
from common.output.run_state import has_ended
from common.system.device import peak_memory_mb
from common.system.errors import echo
from common.training.epoch import end_epoch, train_folds
from common.training.finish import finish
from common.training.learner import fold_models
from common.training.predictions import mean, predict_all, predict_models
from common.training.selection import SCORES, keep_best, restore_best
from common.training.stages import build_stage
from common.training.starts import are_starts, choose_starts

SLOW_EPOCH = 20.  # seconds: of a shorter first epoch much is done only once, so the second is timed
CHECKPOINT_SECONDS = 60.  # at the end of an epoch a checkpoint is written if the last one is as old as this


@torch.no_grad()
def evaluate(learners, dataset, plan, epoch, losses, staged):
    """The epoch's rows of metrics.csv, with the stage if the run is `staged` and the score if an epoch is selected; the
    weights of an epoch with the best score so far are kept. Predictions are the mean over the folds."""
    test, rows = dataset.test, []
    score_of = plan.score(learners, dataset.train, dataset.valid)
    predictions = dict(zip(learners, predict_all(learners, test.inputs), strict=True))
    for name, models in fold_models(learners).items():
        seconds = 0.
        for learner in models:
            spent = learner.watch.read()
            learner.seconds, seconds = learner.seconds + spent, seconds + spent
        if name in score_of:
            keep_best(models, epoch, score_of[name])
        place = {"epoch": epoch, "stage": models[0].stage} if staged else {"epoch": epoch}
        probabilities = mean([predictions[learner] for learner in models])
        rows.append({**place, "method": name, "loss": losses[name], **metrics.scores(probabilities, test.truth),
                     "seconds": round(seconds, 3)})
        if name in score_of:
            rows[-1][SCORES[plan.select]] = score_of[name]
        if models[0].method.forecasts and test.crowd:
            joint = mean([learner.method.forecast(predictions[learner], test.crowd) for learner in models])
            rows.append({**place, "method": name + FORECASTER, "loss": None, **metrics.scores(joint, test.truth),
                         "seconds": None})
    return rows


@torch.no_grad()
def memorization(learners, methods, train, epoch):
    """The epoch's rows of memorization.csv: the share of the annotators' errors that KD-Crowd and its teachers repeat.
    methods: the names of all in the run."""
    teachers = {TEACHERS.get(name) for name in methods}
    watched = [learner for learner in learners if learner.stage or learner.name in teachers]
    rows = []
    for name, predictions in predict_models(watched, train.inputs).items():
        fractions = metrics.memorized(predictions.argmax(1), train)
        fractions = fractions[fractions.isfinite()]
        rows.append({"method": name, "stage": watched[0].stage, "epoch": epoch, "mean": fractions.mean().item(),
                     "deviation": fractions.std(correction=0).item()})
    return rows


def files_of(state, dataset):
    """{name: function of an open file}: what stands beside each checkpoint, written from it."""
    files = {"metrics.csv": lambda file: csv_files.write_rows(file, state["rows"])}
    if state["memorization"]:
        files["memorization.csv"] = lambda file: csv_files.write_rows(file, state["memorization"])
    return files | {name: lambda file, text=text: file.write(text) for name, text in dataset.files.items()}


def train(experiment, folder, state):
    """Trains all stages, from the state of a checkpoint or, where it is None, from the beginning; then `finish`.

    A checkpoint is written after the first epoch, when a minute has passed since the last one, and at the end of a stage.
    """
    state = state or {"stage": 0, "epoch": 0, "rows": [], "memorization": [], "seconds": 0., "peak_memory_mb": 0.,
                      "learners": {}}
    say_start(experiment, folder, state)
    options = experiment.options
    checkpoints = Checkpoints(folder, experiment.dataset, experiment.device, state)
    if not state["epoch"]:
        state["starts"] = choose_starts(experiment)
    elif not are_starts(state.setdefault("starts", {}), experiment):
        raise folder.damaged()
    staged = any(name in TEACHERS for name in options.methods)
    errors_known = staged and bool(metrics.are_wrong(experiment.train).any())
    if staged and not errors_known:
        echo("no annotator's error is known: KD-Crowd's two figures, of the annotators' errors, are left out")
    stages, last_stage = [], STAGES - 1 if staged else 0
    left = TimeLeft(options.epochs, last_stage, options.patience)
    for stage in range(last_stage + 1):
        learners = build_stage(experiment, stage, stages, state["starts"])
        stages.append(learners)
        if state["epoch"] and stage <= state["stage"]:
            restore(learners, state["learners"], folder)
        finished = options.epochs if stage < state["stage"] else state["epoch"] if stage == state["stage"] else 0
        for epoch in range(finished + 1, options.epochs + 1):
            active = [learner for learner in learners if is_trained(learner, epoch - 1, options.patience)]
            if not active:
                break
            with left.timed(stage, epoch, first=epoch == finished + 1):
                rows, memorized = train_epoch_of(experiment, active, stage, epoch, staged, errors_known)
                say_epoch(epoch, rows, f", stage {stage}" if staged else "", epoch == finished + 1, options.verbose)
            say_ended([each.name for each in active if not each.failure and not is_trained(each, epoch, options.patience)],
                      options.patience)
            last = epoch == options.epochs or not any(is_trained(each, epoch, options.patience) for each in learners)
            state = checkpoints.end_epoch(stage, epoch, rows, memorized, stages, last)
        if options.stage_end == "selected":
            restore_best(learners)
    checkpoints.save()
    for learners in stages:
        restore_best(learners)
    return finish(experiment, stages, folder, state)


def train_epoch_of(experiment, learners, stage, epoch, staged, errors_known):
    """Trains and evaluates the learners of a stage for an epoch. Returns its rows of metrics.csv and, where an annotator's
    error is known, of memorization.csv."""
    train, plan, options = experiment.train, experiment.plan, experiment.options
    losses = train_folds(learners, train, plan, epoch, options, stage)
    learners = [learner for learner in learners if not learner.failure]
    end_epoch(learners, train)
    memorized = memorization(learners if errors_known else [], options.methods, train, epoch)
    return evaluate(learners, experiment.dataset, plan, epoch, losses, staged), memorized


class TimeLeft:
    """Prints once how long a run will take, after its second epoch, or its first if that is slow."""

    def __init__(self, epochs, last_stage, patience):
        self.epochs, self.last_stage, self.patience = epochs, last_stage, patience
        self.said = False

    @contextlib.contextmanager
    def timed(self, stage, epoch, first):
        """A context in which an epoch is trained. first: whether it is the first of its stage here."""
        begun = time.perf_counter()
        yield
        seconds = time.perf_counter() - begun
        if not self.said and (seconds > SLOW_EPOCH or not first):
            say_time(seconds, self.epochs - epoch + self.epochs * (self.last_stage - stage), self.patience)
            self.said = True


def is_trained(learner, epoch, patience):
    """Whether a learner is trained further after so many epochs."""
    return not learner.failure and not has_ended(learner.best, epoch, patience)


class Checkpoints:
    """The state of a run after each epoch, and when it is written. state: that of the checkpoint the run went on from, or
    a new one."""

    def __init__(self, folder, dataset, device, state):
        self.folder, self.dataset, self.device, self.state = folder, dataset, device, state
        self.started, self.earlier = time.perf_counter(), state["seconds"]
        self.saved, self.clock = state["epoch"] > 0, float("-inf")  # whether it is on the disk; when it was written

    def end_epoch(self, stage, epoch, rows, memorized, stages, last):
        """Returns the state after the epoch, and writes it if it is time or the `last` epoch of its stage."""
        # of what is trained the weights alone are kept: the optimisers' states are two thirds of the file
        self.state = {**self.state, "stage": stage, "epoch": epoch, "rows": self.state["rows"] + rows,
                      "memorization": self.state["memorization"] + memorized,
                      "seconds": self.earlier + time.perf_counter() - self.started,
                      "peak_memory_mb": max(self.state["peak_memory_mb"], peak_memory_mb(self.device)),
                      "learners": {learner.key: learner.state(with_optimizer=not last and k == stage)
                                   for k, learners in enumerate(stages) for learner in learners}}
        self.saved = False
        if last or time.perf_counter() - self.clock >= CHECKPOINT_SECONDS:
            self.save()
        return self.state

    def save(self):
        """Writes the state unless it is written."""
        if not self.saved:
            self.folder.save(self.state, files_of(self.state, self.dataset))
            self.saved, self.clock = True, time.perf_counter()


def restore(learners, states, folder):
    """Puts each learner in its state in the checkpoint. Raises UserError where it is missing or of another learner."""
    try:
        for learner in learners:
            learner.restore(states[learner.key])
    except Exception:  # a state of another structure can raise anything
        raise folder.damaged() from None
