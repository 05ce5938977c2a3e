"""One epoch of training: all methods of a fold see the same batches."""
import torch
from tqdm import tqdm

from common.methods.method import Batch
from common.training.learner import fail, generator, random_seed
from common.training.predictions import predict_all


def train_epoch(learners, train, fold, epoch, options, stage=0):
    """Train the learners of a fold on the same batches of its items; the last, short batch is left out. Returns the mean
    losses, a list.

    Marks a learner as failed if a loss or a weight of its is not finite.
    """
    size, steps = options.batch_size, len(fold.train) // options.batch_size
    device = train.truth.device
    place = [epoch, stage] if stage else [epoch]  # methods of one stage alone keep their numbers
    order = fold.train[torch.randperm(len(fold.train), generator=generator(options.seed, "batches", *place)).to(device)]
    maps = None
    if options.augment != "none":
        view = place if options.augment == "fresh" else [0]
        maps = train.inputs.draw(generator(options.seed, "augmentation", *view))
    losses = torch.zeros(len(learners), steps, device=device)
    seeds = {learner.name: random_seed(options.seed, "dropout", learner.name, *place) for learner in learners}
    for learner in learners:
        learner.method.train()
    executor = learners[0].executor
    executor.begin_epoch(learners, steps)
    crowds = train.crowd.select(order).batches(size)
    title = f"stage {stage}, epoch {epoch}/{options.epochs}" if stage else f"epoch {epoch}/{options.epochs}"
    if len(fold.train) < len(train):
        title += f", fold {fold.number + 1}"
    parts = order[:steps * size].split(size)
    fetched = zip(parts, train.inputs.batches(parts, maps), crowds, strict=True)
    for step, (items, inputs, crowd) in enumerate(tqdm(fetched, title, steps, leave=False, disable=None)):
        batch = Batch(items, inputs, crowd, lambda items=items: train.inputs.view(items))
        found = executor.step(learners, batch, {learner: (seeds[learner.name] + step) % 2**63 for learner in learners})
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
            tqdm.write(f"{learner.name} stopped: {learner.failure}; the other methods go on")
    return [row.mean().item() for row in losses]


def train_folds(learners, train, plan, epoch, options, stage):
    """One epoch of all learners, fold by fold. Returns {name: mean loss}. With a learner those of its name in the other
    folds fail."""
    losses = {}
    for fold in plan.folds:
        mine = [learner for learner in learners if learner.fold == fold.number and not learner.failure]
        found = train_epoch(mine, train, fold, epoch, options, stage) if mine else []
        for learner, loss in zip(mine, found, strict=True):
            losses.setdefault(learner.name, []).append(loss)
            if learner.failure:
                fail(learners, learner.name, learner.failure)
    return {name: sum(values) / len(values) for name, values in losses.items()}


@torch.no_grad()
def end_epoch(learners, train):
    for learner in learners:
        learner.method.end_epoch(lambda function=None, learner=learner: predict_all([learner], train.inputs, function)[0])
