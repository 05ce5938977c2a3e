"""Choosing without the truth: what is held out of training, and what each epoch is worth by it."""
from dataclasses import dataclass

import torch

from common.crowd.bayes import LabelModel
from common.crowd.held_out import score
from common.errors import UserError
from common.training.learners import generator, predict_all, teams

MANY_FOLDS, FEW_ITEMS = 5, 5_000  # two folds take the time of one run; half of many items is enough to learn from


@dataclass(frozen=True)
class Fold:
    """train: int64 (K,), the items that its learners are trained on; speaks_for: int64 (K',), those whose predictions are
    taken from them: the ones they were not trained on, or all where there is one fold."""
    number: int
    train: torch.Tensor
    speaks_for: torch.Tensor


@dataclass(frozen=True)
class Plan:
    """How an epoch is selected.

    select: none, valid or crowd; folds: [Fold]; gold: int array (images,), see LabelModel, or None; held_out: bool array
    (images,), whose predictions have not seen the image's labels; model: a LabelModel of the images; None for the last two
    unless select is crowd.
    """
    select: str
    folds: list
    gold: object = None
    held_out: object = None
    model: LabelModel | None = None

    def score(self, learners, train, valid):
        """{name: the score by which the epoch is chosen, higher is better}: the accuracy on the validation items (Items),
        or the held-out log-likelihood of the crowd's labels (held_out.score)."""
        if self.select == "valid":
            right = {name: p.argmax(1) == valid.truth for name, p in predict_teams(learners, valid.inputs).items()}
            return {name: hits[valid.truth >= 0].double().mean().item() for name, hits in right.items()}
        if self.select == "crowd":
            return {name: score(self.model, h.double().cpu().numpy()).mean
                    for name, h in self.predict_apart(learners, train).items()}
        return {}

    def predict_apart(self, learners, train):
        """{name: float32 (images, C)}: the predictions for the training images, each by the fold that speaks for it; the
        mean over an image's copies."""
        predictions = {}
        for fold in self.folds:
            mine = [learner for learner in learners if learner.fold == fold.number]
            for learner, p in zip(mine, predict_all(mine, train.inputs, items=fold.speaks_for), strict=True):
                whole = predictions.setdefault(learner.name, p.new_zeros(len(train), p.shape[1]))
                whole[fold.speaks_for] = p
        return {name: p.view(-1, train.copies, p.shape[1]).mean(1) for name, p in predictions.items()}


def predict_teams(learners, inputs):
    """{name: float32 (N, C)}: the predictions for all inputs, the mean over the folds of a name."""
    predictions = dict(zip(learners, predict_all(learners, inputs), strict=True))
    return {name: mean([predictions[learner] for learner in team]) for name, team in teams(learners).items()}


def mean(tensors):
    """The mean of equal tensors; a single one as it is."""
    return tensors[0] if len(tensors) == 1 else torch.stack(tensors).mean(0)


def make_plan(train, options):
    """The Plan of options.select, folds, held_out and seed for the training items (Items, on their device).

    Raises UserError where a side of a split would be left without two classes, and for flags that do not go together.
    """
    device = train.truth.device
    everything = torch.arange(len(train), device=device)
    if options.select != "crowd":
        for name, value in (("folds", options.folds), ("held-out", options.held_out)):
            if value:
                raise UserError(f"--{name} {value}: goes with --select crowd")
        return Plan(options.select, [Fold(0, everything, everything)], _gold(train))
    images = len(train) // train.copies
    if options.held_out:
        if options.folds:
            raise UserError(f"--folds {options.folds} and --held-out {options.held_out}: expected one of the two")
        return _crowd_plan(train, options.seed, 1, options.held_out)
    if options.folds:
        return _crowd_plan(train, options.seed, options.folds)
    for parts in range(MANY_FOLDS if images <= FEW_ITEMS else 2, 1, -1):
        try:
            return _crowd_plan(train, options.seed, parts)
        except UserError:  # so few items that a fold would be of one class: larger ones may do
            if parts == 2:
                raise


def _crowd_plan(train, seed, parts, held_out=None):
    """The Plan of --select crowd with so many folds, or with a share of the images held out."""
    device, images = train.truth.device, len(train) // train.copies
    everything = torch.arange(len(train), device=device)
    share = f"--held-out {held_out}" if held_out else f"--folds {parts}"
    if parts > images:
        raise UserError(f"{share}: there are {images} training items")
    shuffled = torch.randperm(images, generator=generator(seed, "folds")).to(device)
    part = torch.full((images,), -1, device=device)
    if held_out:
        part[shuffled[:round(held_out * images)]] = 0
    else:
        part[shuffled] = torch.arange(images, device=device) % parts
    once = train.once()
    of_item = part.repeat_interleave(train.copies)
    folds = []
    for number in range(parts):
        for side, images_of in (("held out", part == number), ("trained on", part != number)):
            labels = once.crowd.select(torch.nonzero(images_of)[:, 0]).label
            classes = len(labels.unique())
            if classes < 2:
                found = f"labels of {classes} class{'' if classes == 1 else 'es'}"
                raise UserError(f"{share}: leaves {int(images_of.sum())} items with {found} to be {side}; expected two "
                                "classes at least on either side, or --select none")
        apart = everything[of_item == number]
        folds.append(Fold(number, everything[of_item != number], apart if parts > 1 else everything))
    held, gold = (part >= 0).cpu().numpy(), _gold(train)
    return Plan("crowd", folds, gold, held, LabelModel(once.said()[0].crowd, gold, held))


def _gold(train):
    """int array (images,): the known labels, -1 for the others; None where there are none."""
    once = train.once()
    return None if once.gold is None else once.gold.cpu().numpy()
