"""The one training loop: all chosen methods see the same batches; evaluation, checkpoint and resume, results."""
import time
import zlib

import numpy as np
import torch
from tqdm import tqdm

from common import plots, results
from common.crowd import majority_vote
from common.device import Stopwatch, choose_device, choose_precision, peak_memory_mb
from common.errors import UserError
from common.methods import FORECASTER, METHODS, Batch, Setting
from common.runfolder import RunFolder

EVALUATION_BATCH = 256


def random_seed(seed, *keys):
    """A 64-bit seed for one use of randomness, of the run's seed and the use's name and numbers.

    Every use has a seed of its own, so a resumed run needs no generator's state, and a method's numbers do not depend
    on which others run beside it.
    """
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def generator(seed, *keys):
    return torch.Generator().manual_seed(random_seed(seed, *keys))


class Learner:
    """A method in training: its optimiser, its clock, and what became of it."""

    def __init__(self, method, protocol, device):
        self.method = method.to(device)
        slow = method.aggregator_parameters()
        fast = [p for p in method.parameters() if all(p is not q for q in slow)]
        groups = [{"params": fast, "lr": protocol.classifier_rate}]
        groups += [{"params": slow, "lr": protocol.aggregator_rate}] if slow else []
        self.optimizer = torch.optim.Adam(groups, fused=device.type in ("cpu", "cuda"))
        self.watch = Stopwatch(device)
        self.seconds = 0.
        self.failure = None

    @property
    def name(self):
        return self.method.name

    def step(self, batch, seed):
        """One step of Adam on the batch. `seed` is for the method's dropout. Returns the loss, still on the device."""
        with self.watch:
            torch.manual_seed(seed)
            loss = self.method.loss(batch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return loss.detach()

    def state(self, with_optimizer):
        return {"method": self.method.state_dict(), "seconds": self.seconds, "failure": self.failure,
                "optimizer": self.optimizer.state_dict() if with_optimizer else None}

    def restore(self, state):
        self.method.load_state_dict(state["method"])
        if state["optimizer"]:
            self.optimizer.load_state_dict(state["optimizer"])
        self.seconds, self.failure = state["seconds"], state["failure"]


def build_learners(dataset, protocol, options, device, precision):
    """A Learner for each chosen method; all classifiers start from the same weights."""
    train = dataset.train
    setting = Setting(lambda: protocol.network(precision), train.crowd, train.truth,
                      torch.tensor(protocol.prior, device=device), protocol.learn_prior, protocol.smoothing,
                      protocol.crowd_layer_start, options.divergence, protocol.em_epochs)
    learners = []
    for name in options.methods:
        torch.manual_seed(random_seed(options.seed, "weights"))
        learners.append(Learner(METHODS[name](setting), protocol, device))
    return learners


def train_epoch(learners, train, epoch, options):
    """Trains all learners on the same batches; the last, short one is left out. Returns {name: mean loss}.

    A learner whose loss was not finite is marked as failed.
    """
    size, steps = options.batch_size, len(train) // options.batch_size
    device = train.truth.device
    order = torch.randperm(len(train), generator=generator(options.seed, "batches", epoch)).to(device)
    maps = None
    if options.augment != "none":
        view = epoch if options.augment == "fresh" else 0
        maps = train.inputs.draw(generator(options.seed, "augmentation", view))
    losses = torch.zeros(len(learners), steps, device=device)
    seeds = [random_seed(options.seed, "dropout", learner.name, epoch) for learner in learners]
    for learner in learners:
        learner.method.train()
    crowds = train.crowd.select(order).batches(size)
    for step, crowd in enumerate(tqdm(crowds, f"epoch {epoch}/{options.epochs}", steps, leave=False, disable=None)):
        items = order[step * size:(step + 1) * size]
        batch = Batch(items, train.inputs.batch(items, maps), crowd)
        for k, learner in enumerate(learners):
            losses[k, step] = learner.step(batch, (seeds[k] + step) % 2**63)
    for learner, row in zip(learners, losses.cpu(), strict=True):
        broken = torch.nonzero(~row.isfinite())
        if len(broken):
            learner.failure = f"loss not finite in epoch {epoch}, batch {broken[0].item() + 1}"
    return {learner.name: row.mean().item() for learner, row in zip(learners, losses, strict=True)}


@torch.no_grad()
def predict_all(learners, inputs):
    """[(N, C)], each learner's predictions for all inputs: a batch is fetched once for all of them."""
    for learner in learners:
        learner.method.eval()
    parts = [[] for _ in learners]
    for start in range(0, len(inputs), EVALUATION_BATCH):
        batch = inputs.batch(slice(start, start + EVALUATION_BATCH))
        for learner, part in zip(learners, parts, strict=True):
            with learner.watch:
                part.append(learner.method.predict(batch))
    return [torch.cat(part) for part in parts]


@torch.no_grad()
def end_epoch(learners, train):
    for learner in learners:
        learner.method.end_epoch(lambda learner=learner: predict_all([learner], train.inputs)[0])


@torch.no_grad()
def evaluate(learners, test, valid, epoch, losses):
    """The epoch's rows of metrics.csv. valid: Items or None."""
    rows = []
    on_valid = predict_all(learners, valid.inputs) if valid else [None] * len(learners)
    for learner, probabilities, others in zip(learners, predict_all(learners, test.inputs), on_valid, strict=True):
        seconds = learner.watch.read()
        learner.seconds += seconds
        rows.append({"epoch": epoch, "method": learner.name, "loss": losses[learner.name],
                     **results.scores(probabilities, test.truth), "seconds": round(seconds, 3)})
        if valid:
            rows[-1]["valid_accuracy"] = results.accuracy(others.argmax(1), valid.truth)
        if learner.method.forecasts and test.crowd:
            joint = learner.method.forecast(probabilities, test.crowd)
            rows.append({"epoch": epoch, "method": learner.name + FORECASTER, "loss": None,
                         **results.scores(joint, test.truth), "seconds": None})
    return rows


@torch.no_grad()
def label_training_items(learners, train):
    """{name: (N, C)}: the labels that each method, and each forecaster, gives the training items; the mean over an
    image's copies, N being the images."""
    labels = {}
    for learner in learners:
        predictions = []

        def predict(learner=learner, predictions=predictions):
            predictions[:] = predictions or predict_all([learner], train.inputs)
            return predictions[0]
        labels[learner.name] = learner.method.aggregate(predict, train.crowd)
        if learner.method.forecasts:
            labels[learner.name + FORECASTER] = learner.method.forecast(predict(), train.crowd)
    return {name: belief.view(-1, train.copies, belief.shape[1]).mean(1) for name, belief in labels.items()}


def run(dataset, protocol, options):
    """Trains options.methods on the Dataset as the Protocol says and leaves the results in the run's folder.

    Goes on where an earlier run of the same command stopped. Returns the exit status: 1 if no method came through.
    """
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    folder = RunFolder(options, protocol.name, device, precision)
    folder.begin(dataset.describe())
    for name, text in dataset.files.items():
        folder.write(name, lambda file, text=text: file.write(text))
    if options.batch_size > len(dataset.train):
        raise UserError(f"--batch-size {options.batch_size}: larger than the training set of {len(dataset.train)} items")
    summary = folder.summary()
    if summary:
        print(f"this run is done; --fresh does it anew\n\n{results.table(summary)}\n\nfiles are in {folder.path}")
        return 0
    if options.augment != "none" and not dataset.train.inputs.augmentation:
        raise UserError(f"--augment {options.augment}: {protocol.name} has features, not images; there is only none")
    dataset = dataset.to(device)
    learners = build_learners(dataset, protocol, options, device, precision)
    state = folder.load(device) or {"epoch": 0, "rows": [], "seconds": 0., "peak_memory_mb": 0.}
    finished = state["epoch"]
    for learner in learners if finished else ():
        learner.restore(state["learners"][learner.name])
    say_start(dataset, options, device, precision, folder, finished)

    started, earlier = time.perf_counter(), state["seconds"]
    for epoch in range(finished + 1, options.epochs + 1):
        active = [learner for learner in learners if not learner.failure]
        losses = train_epoch(active, dataset.train, epoch, options)
        for learner in active:
            if learner.failure:
                tqdm.write(f"{learner.name} stopped: {learner.failure}")
        active = [learner for learner in active if not learner.failure]
        end_epoch(active, dataset.train)
        rows = evaluate(active, dataset.test, dataset.valid, epoch, losses)
        say_epoch(epoch, rows, first=epoch == finished + 1)
        done = epoch == options.epochs
        state = {"epoch": epoch, "rows": state["rows"] + rows,
                 "seconds": earlier + time.perf_counter() - started,
                 "peak_memory_mb": max(state["peak_memory_mb"], peak_memory_mb(device)),
                 # a finished run keeps the weights alone: the optimisers' states are two thirds of the file
                 "learners": {learner.name: learner.state(with_optimizer=not done) for learner in learners}}
        folder.save(state)
        folder.write("metrics.csv", lambda file, rows=state["rows"]: results.write_metrics(file, rows), newline="")
    return finish(learners, dataset, folder, state)


def finish(learners, dataset, folder, state):
    """Labels the training items, writes the results, summary.json last: it says that the run is done."""
    labels = label_training_items([learner for learner in learners if not learner.failure], dataset.train)
    train = dataset.train.once()
    methods = {}
    for learner in learners:
        for name in (learner.name, learner.name + FORECASTER):
            rows = [row for row in state["rows"] if row["method"] == name]
            if not rows and name not in labels and name != learner.name:
                continue
            scores = results.epochs_that_count(rows)
            methods[name] = {
                **scores,
                "train_label_accuracy": results.accuracy(labels[name].argmax(1), train.truth) if name in labels else None,
                "seconds": round(learner.seconds, 3) if name == learner.name else None}
        methods[learner.name] |= learner.method.report() | ({"failure": learner.failure} if learner.failure else {})
    summary = {"methods": methods, "items": len(train), "annotators": train.crowd.annotators,
               "labels": len(train.crowd.label),
               "majority_vote_accuracy": results.accuracy(majority_vote(train.crowd), train.truth),
               "labels_from": None, "seconds": round(state["seconds"], 3),
               "peak_memory_mb": round(state["peak_memory_mb"], 1)}
    if labels:
        summary["labels_from"] = write_crowd(learners, labels, train, dataset.annotator_names, folder)
    if state["rows"]:
        folder.write("curves.png", lambda file: plots.curves(file, state["rows"], folder.path.name), "wb")
    folder.write_json("summary.json", summary)
    print(f"\n{results.table(summary)}\n")
    if summary["labels_from"]:
        print(f"labels.csv, annotators.csv and confusion are {summary['labels_from']}'s; files are in {folder.path}")
    return 0 if labels else 1


def write_crowd(learners, labels, train, annotator_names, folder):
    """labels.csv, annotators.csv, confusion.npz and confusion.png, of the leading method: Max-MIG's forecaster, else
    the last method of the table before true-label. Returns its name."""
    ranked = sorted((learner for learner in learners if not learner.failure),
                    key=lambda learner: (learner.name == "max-mig", learner.name != "true-label",
                                         list(METHODS).index(learner.name)))
    method = ranked[-1].method
    name = method.name + FORECASTER if method.name + FORECASTER in labels else method.name
    belief = labels[name]
    estimated, true = method.confusion(belief, train.crowd), results.true_confusion(train)
    folder.write("labels.csv", lambda file: results.write_labels(file, train, belief), newline="")
    folder.write("annotators.csv", lambda file: results.write_annotators(
        file, train, annotator_names, belief, estimated), newline="")
    folder.write("confusion.npz", lambda file: results.write_confusion(file, estimated, true), "wb")
    counts = torch.bincount(train.crowd.annotator, minlength=train.crowd.annotators)
    folder.write("confusion.png", lambda file: plots.confusions(
        file, estimated.cpu().numpy(), true.cpu().numpy(), annotator_names, counts.cpu().numpy(),
        f"{folder.path.name}: confusion matrices by {name}"), "wb")
    return name


def say_start(dataset, options, device, precision, folder, epoch):
    train = dataset.train
    print(f"{len(train)} training items, {len(dataset.test)} test items, {len(dataset.class_names)} classes, "
          f"{train.crowd.annotators} annotators, {len(train.crowd.label)} labels; {device}, {precision}")
    if options.divergence == "total-variation" and "max-mig" in options.methods:
        print("total variation has no gradient: training takes its smooth surrogate, "
              "f(t) = t - 2 arctan t + pi/2 - 1")
    print(f"results go to {folder.path}" + (f"; going on after epoch {epoch}" if epoch else ""))


def say_epoch(epoch, rows, first):
    """A line of test accuracies, under a heading the first time."""
    width = max([12, *(len(row["method"]) for row in rows)])
    if first:
        tqdm.write("\ntest accuracy by epoch\nepoch  " + "  ".join(row["method"].rjust(width) for row in rows))
    cells = (results.percent(row["test_accuracy"]).rjust(width) for row in rows)
    tqdm.write(f"{epoch:5}  " + "  ".join(cells))
