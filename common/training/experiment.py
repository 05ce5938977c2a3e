"""The one training loop: all methods of a stage see the same batches; evaluation, checkpoint and resume."""
import contextlib
import time

import torch
from tqdm import tqdm

from common import processes
from common.errors import UserError
from common.methods import FORECASTER, METHODS, UPPER_BOUND, Batch
from common.output import results
from common.training.crews import make_crew
from common.training.device import choose_device, choose_precision, peak_memory_mb, settle
from common.training.learners import STAGES, build_stage, fail, generator, predict_all, random_seed, teams
from common.training.runfolder import Follower, RunFolder
from common.training.selection import make_plan, mean, predict_teams

CHECKPOINT_SECONDS = 60.  # at the end of an epoch a checkpoint is written if the last one is as old as this


def train_epoch(learners, train, fold, epoch, options, stage=0):
    """Trains the learners of a fold on the same batches of its items; the last, short one is left out. Returns the mean
    losses, a list.

    A learner whose loss was not finite is marked as failed, and so are those of its name in the other folds.
    """
    size, steps = options.batch_size, len(fold.train) // options.batch_size
    device = train.truth.device
    place = [epoch, stage] if stage else [epoch]
    order = fold.train[torch.randperm(len(fold.train), generator=generator(options.seed, "batches", *place)).to(device)]
    maps = None
    if options.augment != "none":
        view = place if options.augment == "fresh" else [0]
        maps = train.inputs.draw(generator(options.seed, "augmentation", *view))
    losses = torch.zeros(len(learners), steps, device=device)
    seeds = {learner.name: random_seed(options.seed, "dropout", learner.name, *place) for learner in learners}
    for learner in learners:
        learner.method.train()
    crew = learners[0].crew
    crew.begin_epoch(learners, steps)
    crowds = train.crowd.select(order).batches(size)
    title = f"stage {stage}, epoch {epoch}/{options.epochs}" if stage else f"epoch {epoch}/{options.epochs}"
    if len(fold.train) < len(train):
        title += f", fold {fold.number + 1}"
    parts = order[:steps * size].split(size)
    fetched = zip(parts, train.inputs.batches(parts, maps), crowds, strict=True)
    for step, (items, inputs, crowd) in enumerate(tqdm(fetched, title, steps, leave=False, disable=None)):
        batch = Batch(items, inputs, crowd, lambda items=items: train.inputs.view(items))
        found = crew.step(learners, batch, {learner: (seeds[learner.name] + step) % 2**63 for learner in learners})
        for row, loss in zip(losses, found, strict=True):
            row[step] = loss
    for learner, row in zip(learners, losses.cpu(), strict=True):
        broken = torch.nonzero(~row.isfinite())
        where = f"stage {stage}, epoch {epoch}" if stage else f"epoch {epoch}"
        if len(broken):
            learner.failure = f"loss not finite in {where}, batch {broken[0].item() + 1}"
        elif not learner.is_finite():  # a gradient was not: of the last batch, or the loss would have told
            learner.failure = f"weights not finite after {where}"
        if learner.failure:
            tqdm.write(f"{learner.name} stopped: {learner.failure}")
    return [row.mean().item() for row in losses]


def train_folds(learners, train, plan, epoch, options, stage):
    """One epoch of all learners, fold by fold. Returns {name: mean loss}."""
    losses = {}
    for fold in plan.folds:
        mine = [learner for learner in learners if learner.fold == fold.number and not learner.failure]
        found = train_epoch(mine, train, fold, epoch, options, stage) if mine else []
        for learner, loss in zip(mine, found, strict=True):
            losses.setdefault(learner.name, []).append(loss)
            if learner.failure:
                fail(learners, learner.name, learner.failure)
    return {name: sum(theirs) / len(theirs) for name, theirs in losses.items()}


@torch.no_grad()
def end_epoch(learners, train):
    for learner in learners:
        learner.method.end_epoch(lambda function=None, learner=learner: predict_all([learner], train.inputs, function)[0])


@torch.no_grad()
def evaluate(learners, dataset, plan, epoch, losses, staged):
    """The epoch's rows of metrics.csv, with the stage if the run is `staged` and the score if an epoch is selected; the
    weights of an epoch with the best score so far are kept. Predictions are the mean over the folds."""
    test, rows = dataset.test, []
    score_of = plan.score(learners, dataset.train, dataset.valid)
    predictions = dict(zip(learners, predict_all(learners, test.inputs), strict=True))
    for name, team in teams(learners).items():
        seconds = 0.
        for learner in team:
            spent = learner.watch.read()
            learner.seconds, seconds = learner.seconds + spent, seconds + spent
            if name in score_of:
                learner.keep_if_best(epoch, score_of[name])
        place = {"epoch": epoch, "stage": team[0].stage} if staged else {"epoch": epoch}
        probabilities = mean([predictions[learner] for learner in team])
        rows.append({**place, "method": name, "loss": losses[name], **results.scores(probabilities, test.truth),
                     "seconds": round(seconds, 3)})
        if name in score_of:
            rows[-1][results.SCORES[plan.select]] = score_of[name]
        if team[0].method.forecasts and test.crowd:
            joint = mean([learner.method.forecast(predictions[learner], test.crowd) for learner in team])
            rows.append({**place, "method": name + FORECASTER, "loss": None, **results.scores(joint, test.truth),
                         "seconds": None})
    return rows


@torch.no_grad()
def memorization(learners, methods, train, epoch):
    """Rows of memorization.csv: how much of the annotators' errors KD-Crowd and its teachers repeat, by now. methods: the
    names of all in the run."""
    teachers = {METHODS[name].teacher for name in methods}
    watched = [learner for learner in learners if learner.stage or learner.name in teachers]
    rows = []
    for name, predictions in predict_teams(watched, train.inputs).items():
        fractions = results.memorized(predictions.argmax(1), train)
        fractions = fractions[fractions.isfinite()]
        rows.append({"method": name, "stage": watched[0].stage, "epoch": epoch, "mean": fractions.mean().item(),
                     "deviation": fractions.std(correction=0).item()})
    return rows


def run(dataset, protocol, options):
    """Trains options.methods on the Dataset as the Protocol says and leaves the results in the run's folder.

    Goes on where an earlier run of the same command stopped. Everything is checked before the folder is touched. Returns the
    exit status: 1 if no method came through.
    """
    device = check(dataset, protocol, options)
    settle(device)
    processes.join(device)
    precision = choose_precision(options.precision, device)
    threads = torch.get_num_threads()
    try:
        return run_on(dataset, protocol, options, device, precision)
    finally:
        torch.set_num_threads(threads)


def check(dataset, protocol, options):
    """Raises UserError for flags that do not go with the data or the machine. Leaves a true-label out of options.methods
    where no truth is known. Returns the device."""
    from common.training.report import check_labels_from  # with matplotlib, for which --help need not wait
    if UPPER_BOUND in options.methods and not (dataset.train.truth >= 0).any():
        options.methods = [name for name in options.methods if name != UPPER_BOUND]
        if not options.methods:
            raise UserError("--methods true-label: no training item's true label is known")
        print("true-label is left out: no training item's true label is known")
    if options.stage_end == "selected" and options.select == "none":
        raise UserError("--stage-end selected: goes with a --select; expected last")
    check_labels_from(options)
    device = choose_device(options.device)
    least = min(len(fold.train) for fold in make_plan(dataset.train, options).folds)
    if options.batch_size > least:
        raise UserError(f"--batch-size {options.batch_size}: larger than the training set of {least} items")
    if options.augment != "none" and not dataset.train.inputs.augmentation:
        raise UserError(f"--augment {options.augment}: {protocol.name} has features, not images; there is only none")
    return device


def run_on(dataset, protocol, options, device, precision):
    """The rest of `run`, on a device."""
    if options.batch_size < processes.count():
        raise UserError(f"--batch-size {options.batch_size}: fewer than the {processes.count()} processes that share it")
    crew = make_crew(dataset.train, protocol, options, device, precision)
    folder = (Follower if processes.rank() else RunFolder)(
        options, protocol.name, device, precision, dataset.describe(), crew.count)
    with folder.claimed(), told_how_to_go_on(folder):
        state, summary = processes.from_first(folder.load())
        if summary:
            if state:
                folder.restore(files_of(state, dataset), clean=False)
            print(f"this run is done; --fresh does it anew\n\n{results.table(summary)}\n\nfiles are in {folder.path}")
            status = 0
        else:
            if state:
                folder.restore(files_of(state, dataset))
            try:
                status = train(dataset.to(device, options.keep), protocol, options, folder, state, device, precision, crew)
            finally:
                crew.release()
        processes.leave()
        return status


@contextlib.contextmanager
def told_how_to_go_on(folder):
    """Whoever presses Control-C is told what is true of the folder by then."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(folder.goes_on()) from None


def files_of(state, dataset):
    """{name: function of an open file}: what stands beside each checkpoint, written from it."""
    files = {"metrics.csv": lambda file: results.write_rows(file, state["rows"])}
    if state["memorization"]:
        files["memorization.csv"] = lambda file: results.write_rows(file, state["memorization"])
    return files | {name: lambda file, text=text: file.write(text) for name, text in dataset.files.items()}


def train(dataset, protocol, options, folder, state, device, precision, crew):
    """The rest of `run`, from the state of a checkpoint or, where it is None, from the beginning.

    A checkpoint is written after the first epoch, when a minute has passed since the last one, and at the end of a stage.
    """
    saved, clock = state is not None, float("-inf")  # whether the checkpoint has the state; when it was written
    state = state or {"stage": 0, "epoch": 0, "rows": [], "memorization": [], "seconds": 0., "peak_memory_mb": 0.,
                      "learners": {}}
    plan = make_plan(dataset.train, options)
    say_start(dataset, options, device, precision, folder, state, crew)
    started, earlier = time.perf_counter(), state["seconds"]
    staged = any(METHODS[name].teacher for name in options.methods)
    judged = bool((dataset.train.crowd.counts[dataset.train.truth >= 0] > 0).any())  # the annotators' errors can be told
    if staged and not judged:
        print("no label's truth is known: KD-Crowd's two figures, of the annotators' errors, are left out")
    stages = []
    last_stage = STAGES - 1 if staged else 0
    for stage in range(last_stage + 1):
        learners = build_stage(stage, stages, dataset, protocol, options, device, precision, plan.folds, crew)
        stages.append(learners)
        if state["epoch"] and stage <= state["stage"]:
            restore(learners, state["learners"], folder)
        finished = options.epochs if stage < state["stage"] else state["epoch"] if stage == state["stage"] else 0
        for epoch in range(finished + 1, options.epochs + 1):
            active = [learner for learner in learners if not learner.failure]
            if not active:
                break
            begun = time.perf_counter()
            losses = train_folds(active, dataset.train, plan, epoch, options, stage)
            active = [learner for learner in active if not learner.failure]
            end_epoch(active, dataset.train)
            watched = memorization(active, options.methods, dataset.train, epoch) if staged and judged and active else []
            rows = evaluate(active, dataset, plan, epoch, losses, staged)
            say_epoch(epoch, rows, f", stage {stage}" if staged else "", first=epoch == finished + 1)
            if epoch == finished + 1:
                say_time(time.perf_counter() - begun, (options.epochs - epoch) + options.epochs * (last_stage - stage))
            # of what is trained the weights alone are kept: the optimisers' states are two thirds of the file
            learning = epoch < options.epochs
            state = {"stage": stage, "epoch": epoch, "rows": state["rows"] + rows,
                     "memorization": state["memorization"] + watched,
                     "seconds": earlier + time.perf_counter() - started,
                     "peak_memory_mb": max(state["peak_memory_mb"], peak_memory_mb(device)),
                     "learners": {learner.key: learner.state(with_optimizer=learning and k == stage)
                                  for k, stage_learners in enumerate(stages) for learner in stage_learners}}
            saved = epoch == options.epochs or time.perf_counter() - clock >= CHECKPOINT_SECONDS
            if saved:
                folder.save(state, files_of(state, dataset))
                clock = time.perf_counter()
        if options.stage_end == "selected":
            restore_best(learners)
    if not saved:
        folder.save(state, files_of(state, dataset))
    for learners in stages:
        restore_best(learners)
    from common.training.report import finish
    return finish(stages, options, dataset, plan, folder, state, options.reproduce(protocol))


def restore(learners, states, folder):
    """Each learner as the checkpoint's `states` have it. Raises UserError where one is not among them, or another."""
    try:
        for learner in learners:
            learner.restore(states[learner.key])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError):
        raise folder.damaged() from None


def restore_best(learners):
    for learner in learners:
        learner.restore_best()


def say_start(dataset, options, device, precision, folder, state, crew):
    train = dataset.train
    print(f"{len(train)} training items, {len(dataset.test)} test items, {len(dataset.class_names)} classes, "
          f"{train.crowd.annotators} annotators, {len(train.crowd.label)} labels; {device}, {precision}"
          + (f", {crew.count} methods at a time with a thread each" if crew.count > 1 else ""))
    if options.divergence == "total-variation":
        print("total variation has no gradient: training takes its smooth surrogate, "
              "f(t) = t - 2 arctan t + pi/2 - 1")
    if options.robust == "dividemix" and not train.inputs.augmentation:
        print("dividemix: features leave nothing to augment, an item's two views differ by dropout alone")
    stage = f"stage {state['stage']}, " if state["stage"] else ""
    print(f"results go to {folder.path}" + (f"; going on after {stage}epoch {state['epoch']}" if state["epoch"] else ""))


def say_time(seconds, epochs):
    """How long so many more epochs of so many seconds will take, where that is worth a word."""
    if seconds * epochs > 120:
        tqdm.write(f"an epoch takes {seconds:.0f} s: some {seconds * epochs / 60:.0f} minutes to go; fewer --methods or "
                   "--epochs take less")


def say_epoch(epoch, rows, where, first):
    """A line of test accuracies, of held-out log-likelihoods where nothing is tested on, under a heading the first time."""
    by_score = all(row["test_accuracy"] is None for row in rows)
    rows = [row for row in rows if not by_score or results.HELD_OUT in row]
    if not rows:
        return
    width = max(12, *(len(row["method"]) for row in rows))
    if first:
        tqdm.write(f"\n{'held-out log-likelihood' if by_score else 'test accuracy'} by epoch{where}\nepoch  "
                   + "  ".join(row["method"].rjust(width) for row in rows))
    cells = (f"{row[results.HELD_OUT]:.4f}" if by_score else results.percent(row["test_accuracy"]) for row in rows)
    tqdm.write(f"{epoch:5}  " + "  ".join(cell.rjust(width) for cell in cells))
