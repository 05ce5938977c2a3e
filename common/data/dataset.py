"""What a data set's folder hands to the experiment: its items, its crowd and the paper's constants."""
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from common.crowd.labels import CrowdLabels
from common.crowd.synthetic import annotator_names, synthesize
from common.system.errors import UserError

TRAIN_SEED, TEST_SEED = 1234, 4321  # the paper's protocol: the seeds of the synthesized crowds

# a batch of predictions: the fewest items, the most, and their bytes; then the same for images on a CPU
FEWEST, MOST, BYTES = 64, 1024, 12 * 2**20
FEWEST_IMAGES, MOST_IMAGES, IMAGE_BYTES = 16, 64, 4 * 2**20


@dataclass(frozen=True)
class Items:
    """N items: `inputs` (an ImageSet or FeatureSet, or None), `truth` int64 (N,) with -1 where it is unknown, their own
    `names`, and what the crowd says of them, or None. `copies` items in turn are one image: results count them once.
    gold: int64 (N,), the true labels that are known to all, in training too, -1 for the others; None where nobody knows
    any. groups: int64 (N,), the items' groups, which no fold divides, or None."""
    inputs: object
    truth: torch.Tensor
    names: list
    crowd: CrowdLabels | None = None
    copies: int = 1
    gold: torch.Tensor | None = None
    groups: torch.Tensor | None = None

    def __len__(self):
        return len(self.truth)

    def select(self, items):
        """These items (int64 (K,)), in their order."""
        crowd = self.crowd.select(items) if self.crowd else None
        names = [self.names[i] for i in items.tolist()]
        gold = None if self.gold is None else self.gold[items]
        inputs = None if self.inputs is None else self.inputs.select(items)
        groups = None if self.groups is None else self.groups[items]
        return replace(self, inputs=inputs, truth=self.truth[items], names=names, crowd=crowd, gold=gold, groups=groups)

    def without_copies(self):
        """The first of each image's copies."""
        if self.copies == 1:
            return self
        return replace(self.select(torch.arange(0, len(self), self.copies, device=self.truth.device)), copies=1)

    def gold_array(self):
        """int array (N,): the gold labels, -1 for the others; None where there are none."""
        return None if self.gold is None else self.gold.cpu().numpy()

    def by_gold(self):
        """bool (L,): whether a crowd label is of the last annotator, who gives the `gold` labels (own_data._with_gold)."""
        gold = self.gold is not None and bool((self.gold >= 0).any())
        return self.crowd.annotator == (self.crowd.annotators - 1 if gold else -1)

    def unique_labels(self):
        """The Items without repeated gold labels: these are repeated for training only."""
        repeated = self.by_gold()
        if not repeated.any():
            return self
        return replace(self, crowd=self.crowd.keep(~(repeated & self.crowd.repeats())))

    def to(self, device, keep="auto"):
        crowd = self.crowd.to(device) if self.crowd else None
        gold = None if self.gold is None else self.gold.to(device)
        groups = None if self.groups is None else self.groups.to(device)
        return replace(self, inputs=self.inputs.to(device, keep), truth=self.truth.to(device), crowd=crowd, gold=gold,
                       groups=groups)


def prediction_batch(inputs):
    """How many items of an ImageSet or FeatureSet are predicted at once: so many that they take 12 MiB, from 64 to 1,024.

    Images on a CPU: 4 MiB, from 16 to 64 items. The layers' outputs for larger batches do not fit the CPU's cache.
    """
    item = inputs.batch(slice(0, 1))
    size = max(1, math.prod(item.shape[1:]) * item.element_size())
    if item.dim() > 2 and item.device.type == "cpu":
        return min(MOST_IMAGES, max(FEWEST_IMAGES, IMAGE_BYTES // size))
    return min(MOST, max(FEWEST, BYTES // size))


@dataclass(frozen=True)
class Dataset:
    """Training and test items of the same classes, and a name for each annotator.

    valid: labelled items for epoch selection, or None; files: {file name: text}, written to the run's folder;
    finish(folder, name, parts): called at the end of the run with its RunFolder, the classifier's name and [(trained
    Method, weight)], whose weights add up to one; texts: {item's name: text} where the items are texts."""
    train: Items
    test: Items
    class_names: list
    annotator_names: list
    valid: Items | None = None
    files: dict = field(default_factory=dict)
    finish: Callable | None = None
    texts: dict = field(default_factory=dict)
    named: bool = False  # whether the results have the classes' names instead of their numbers

    def to(self, device, keep="auto"):
        valid = self.valid.to(device, keep) if self.valid else None
        return replace(self, train=self.train.to(device, keep), test=self.test.to(device, keep), valid=valid)

    def describe(self):
        """Counts and checksums: a run that is resumed must meet the data it began with."""
        def checksum(items):
            truth = zlib.crc32(items.truth.numpy().tobytes())
            return items.inputs.checksum(truth) if items.inputs is not None else truth
        crowd = self.train.crowd
        answers = zlib.crc32(crowd.offsets.numpy(), zlib.crc32(torch.stack([crowd.annotator, crowd.label]).numpy()))
        valid = {"valid": len(self.valid)} if self.valid else {}
        groups = {} if self.train.groups is None else {"groups_crc32": zlib.crc32(self.train.groups.numpy())}
        return {"train": len(self.train), "test": len(self.test), **valid, "classes": list(self.class_names),
                "annotators": crowd.annotators, "labels": len(crowd.label),
                "training_items_crc32": checksum(self.train), "test_items_crc32": checksum(self.test),
                "answers_crc32": answers, **groups}


def subset(items, size, classes, flag, labels=None):
    """The first `size` of a fixed shuffle, every class kept, in their original order, with all their copies; all of
    them for None. labels: int64 (N,), by which classes are kept, -1 for unknown; None: the true ones."""
    count = len(items) // items.copies
    if size is None or size == count:
        return items
    if not classes <= size <= count:
        wanted = f"give a number from {classes} to {count}" if count >= classes else "leave it out"
        raise UserError(f"{flag} {size}: there are {count} items of {classes} classes; {wanted}")
    shuffled = np.random.RandomState(0).permutation(count)
    labels = items.truth if labels is None else labels
    found, first = np.unique(labels.numpy()[::items.copies][shuffled], return_index=True)
    first = first[found >= 0]  # the first of each class
    chosen = np.sort(np.concatenate([shuffled[first], np.delete(shuffled, first)])[:size])
    return items.select(torch.from_numpy((chosen[:, None] * items.copies + np.arange(items.copies)).ravel()))


def cut(train, test, classes, options, labels=None):
    """(train, test), cut to options.train_size and test_size. labels: those of `train`, see subset."""
    return (subset(train, options.train_size, classes, "--train-size", labels),
            subset(test, options.test_size, classes, "--test-size"))


def subsampled(crowd, keep, seed):
    """The crowd with `keep` random labels of each item, --labels-per-item; all of it for None."""
    if keep is None:
        return crowd
    if keep > crowd.annotators:
        raise UserError(f"--labels-per-item {keep}: this crowd has {crowd.annotators} annotators; give a number from 1 to "
                        f"{crowd.annotators}")
    return crowd.subsample(keep, seed)


def synthesized(train, test, class_names, experts, options, files=None):
    """The Dataset with the paper's crowd for options.case, cut to options.train_size and test_size.

    The crowd is drawn for all items before the cut, so that an item's labels do not depend on it.
    """
    def crowd_of(items, seed):
        crowd = synthesize(items.truth.numpy(), experts, options.case, seed)
        # not by the numbers that drew the labels: those with low numbers, which are kept, would be of low classes
        return replace(items, crowd=subsampled(crowd, options.labels_per_item, [seed, 1]))
    train, test = cut(crowd_of(train, TRAIN_SEED), crowd_of(test, TEST_SEED), len(class_names), options)
    return Dataset(train, test, class_names, annotator_names(experts, options.case), files=files or {})
