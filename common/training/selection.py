"""Epoch selection: what is held out, the score of an epoch, and the pick."""
from dataclasses import dataclass

import torch

from common.crowd.bayes import LabelModel
from common.crowd.held_out import HELD_OUT, score
from common.system.errors import UserError
from common.training.learner import generator
from common.training.predictions import predict_all, predict_models, to_array

SCORES = {"crowd": HELD_OUT, "valid": "valid_accuracy"}  # --select: the column of metrics.csv
MANY_FOLDS, FEW_ITEMS = 5, 5_000  # two folds take the time of one run; half of many items is enough to learn from


@dataclass(frozen=True)
class Fold:
    """train: int64 (K,), the items that its learners are trained on; prediction_items: int64 (K',), the items whose
    predictions are theirs: those that they were not trained on, or all where there is one fold."""
    number: int
    train: torch.Tensor
    prediction_items: torch.Tensor


@dataclass(frozen=True)
class Plan:
    """How an epoch is selected.

    select: none, valid or crowd; folds: [Fold]; gold: int array (images,), see LabelModel, or None; held_out: bool array
    (images,), True where no learner that predicts the image was trained on its labels; model: a LabelModel of the images.
    None for the last two unless select is crowd.
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
            right = {name: p.argmax(1) == valid.truth for name, p in predict_models(learners, valid.inputs).items()}
            return {name: hits[valid.truth >= 0].double().mean().item() for name, hits in right.items()}
        if self.select == "crowd":
            return {name: found.mean for name, found in self.score_held_out(learners, train).items()}
        return {}

    def score_held_out(self, learners, train):
        """{name: its held_out.Score}, of select crowd."""
        return {name: score(self.model, to_array(h)) for name, h in self.predict_held_out(learners, train).items()}

    def score_folds(self, learners, train):
        """{name: [the sum of the log-likelihoods of each fold's held-out labels]}, of select crowd."""
        images = [fold.prediction_items[::train.copies].cpu() // train.copies for fold in self.folds]
        return {name: [float(found.items[part].sum()) for part in images]
                for name, found in self.score_held_out(learners, train).items()}

    def predict_held_out(self, learners, train):
        """{name: float32 (images, C)}: the predictions for the training images, each by the fold that was not
        trained on it; the mean over an image's copies."""
        predictions = {}
        for fold in self.folds:
            mine = [learner for learner in learners if learner.fold == fold.number]
            for learner, p in zip(mine, predict_all(mine, train.inputs, items=fold.prediction_items), strict=True):
                whole = predictions.setdefault(learner.name, p.new_zeros(len(train), p.shape[1]))
                whole[fold.prediction_items] = p
        return {name: p.view(-1, train.copies, p.shape[1]).mean(1) for name, p in predictions.items()}


def make_plan(train, options):
    """The Plan of options.select, folds, held_out and seed for the training items (Items, on their device).

    Raises UserError where a side of a split would be left without two classes, and for flags that do not go together.
    """
    device = train.truth.device
    everything = torch.arange(len(train), device=device)
    if options.select != "crowd":
        for name, value in (("folds", options.folds), ("held-out", options.held_out)):
            if value:
                raise UserError(f"--{name} {value}: needs --select crowd; add it, or leave this out")
        return Plan(options.select, [Fold(0, everything, everything)], train.without_copies().gold_array())
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
        except UserError as error:  # so few items that a fold would be of one class: larger ones may do
            if parts == 2:
                raise UserError(f"--select crowd: {str(error).partition(': ')[2]}") from None


def _crowd_plan(train, seed, parts, held_out=None):
    """The Plan of --select crowd with so many folds, or with a share of the images held out."""
    device, images = train.truth.device, len(train) // train.copies
    everything = torch.arange(len(train), device=device)
    share = f"--held-out {held_out}" if held_out else f"--folds {parts}"
    if parts > images:
        raise UserError(f"{share}: there are {images} training items")
    images, groups = train.without_copies(), None
    if images.groups is not None:
        _, groups = images.groups.cpu().unique(return_inverse=True)
    part = assign_parts(len(images), groups, parts, held_out, generator(seed, "folds"), share).to(device)
    of_item = part.repeat_interleave(train.copies)
    folds = []
    for number in range(parts):
        _check_side(images.crowd, part == number, "held out", share)
        _check_side(images.crowd, part != number, "trained on", share)
        held_out_items = everything[of_item == number]
        folds.append(Fold(number, everything[of_item != number], held_out_items if parts > 1 else everything))
    held_out_images, gold = (part >= 0).cpu().numpy(), images.gold_array()
    model = LabelModel(images.unique_labels().crowd, gold, held_out_images)
    return Plan("crowd", folds, gold, held_out_images, model)


def assign_parts(count, groups, parts, held_out, random, share):
    """int64 (count,): the part of each image, or 0 for the held-out share of them and -1 for the others.

    groups: int64 (count,) from 0, or None: a group is in one part. In random order each goes to the smallest part, or into
    the held-out share until that is full. share: the flag and its value, for errors.
    """
    part = torch.full((count,), -1)
    if groups is None:
        shuffled = torch.randperm(count, generator=random)
        if held_out:
            part[shuffled[:round(held_out * count)]] = 0
        else:
            part[shuffled] = torch.arange(count) % parts
        return part
    sizes = groups.bincount()
    if len(sizes) < max(parts, 2):
        raise UserError(f"{share}: the training items have {len(sizes)} group{'s' * (len(sizes) > 1)} (--groups); expected "
                        f"{max(parts, 2)} or more")
    of_group, filled = torch.full((len(sizes),), -1), [0] * parts
    for group in torch.randperm(len(sizes), generator=random).tolist():
        smallest = min(range(parts), key=filled.__getitem__)
        if not held_out or filled[0] < round(held_out * count):
            of_group[group] = smallest
            filled[smallest] += int(sizes[group])
    return of_group[groups]


def _check_side(crowd, images, side, share):
    """Raises UserError unless the labels of these images (bool (images,)) are of two classes at least."""
    classes = len(crowd.select(torch.nonzero(images)[:, 0]).label.unique())
    if classes < 2:
        found = f"labels of {classes} class{'' if classes == 1 else 'es'}"
        raise UserError(f"{share}: leaves {int(images.sum())} items with {found} to be {side}; expected two classes at "
                        "least on either side, or --select none")


def keep_best(models, epoch, score):
    """Keeps the weights of a method's learners if the epoch's score is higher than that of every epoch before."""
    for learner in models:
        if learner.best is None or score > learner.best["score"]:
            weights = {name: value.clone() for name, value in learner.method.state_dict().items()}
            learner.best = {"epoch": epoch, "score": score, "method": weights}


def restore_best(learners):
    """Puts the weights of the selected epoch back, where there is one."""
    for learner in learners:
        if learner.best:
            learner.method.load_state_dict(learner.best["method"])


def reported_epochs(rows, select="none", method=None):
    """{"last", "best", "selected": its scores; "best_epoch", "selected_epoch"} from one method's rows of metrics.csv.

    The best epoch is that of the highest test accuracy; the selected one has the highest validation accuracy or held-out
    log-likelihood. Of equal epochs the first counts. A forecaster has the selected epoch of its `method`'s summary. None
    where no test item's truth is known.
    """
    def scores_of(row):
        return {name: row[name] for name in ("test_accuracy", "test_auc")}
    summary = {"last": None, "best": None, "best_epoch": None}
    if rows and select != "none":
        scored = [row for row in rows if SCORES[select] in row]
        selected = (max(scored, key=lambda row: row[SCORES[select]]) if scored
                    else next(row for row in rows if row["epoch"] == method["selected_epoch"]))
        summary |= {"selected": scores_of(selected), "selected_epoch": selected["epoch"]}
    if rows and rows[-1]["test_accuracy"] is not None:
        best = max(rows, key=lambda row: row["test_accuracy"])
        summary |= {"last": scores_of(rows[-1]), "best": scores_of(best), "best_epoch": best["epoch"]}
    return summary
