"""What a data set's folder hands to the experiment: its items, its crowd and the paper's constants."""
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from common.crowd import CrowdLabels, annotator_names, synthesize
from common.errors import UserError

TRAIN_SEED, TEST_SEED = 1234, 4321  # the paper's protocol: the seeds of the synthesized crowds


@dataclass(frozen=True)
class Items:
    """N items: `inputs` (an ImageSet), `truth` int64 (N,) with -1 where it is unknown, their own `names`, and what
    the crowd says of them, or None."""
    inputs: object
    truth: torch.Tensor
    names: list
    crowd: CrowdLabels | None = None

    def __len__(self):
        return len(self.truth)

    def select(self, items):
        """These items (int64 (K,)), in their order."""
        crowd = self.crowd.select(items) if self.crowd else None
        return Items(self.inputs.select(items), self.truth[items], [self.names[i] for i in items.tolist()], crowd)

    def to(self, device):
        crowd = self.crowd.to(device) if self.crowd else None
        return replace(self, inputs=self.inputs.to(device), truth=self.truth.to(device), crowd=crowd)


@dataclass(frozen=True)
class Dataset:
    """Training and test items of the same classes (`class_names`), and a name for each annotator."""
    train: Items
    test: Items
    class_names: list
    annotator_names: list

    def describe(self):
        """Counts and checksums: a run that is resumed must meet the data it began with."""
        def checksum(items):
            return items.inputs.checksum(zlib.crc32(items.truth.numpy().tobytes()))
        crowd = self.train.crowd
        crowd_bytes = torch.stack([crowd.annotator, crowd.label]).numpy().tobytes()
        return {"train": len(self.train), "test": len(self.test), "classes": list(self.class_names),
                "annotators": crowd.annotators, "labels": len(crowd.label),
                "crc32": [checksum(self.train), checksum(self.test), zlib.crc32(crowd_bytes)]}


@dataclass(frozen=True)
class Protocol:
    """The constants of a data set's experiment, as PAPERS has them; flags may override epochs, batch and augment."""
    name: str
    network: Callable  # (precision) -> Classifier
    epochs: int
    batch_size: int
    classifier_rate: float  # Adam's, for h
    aggregator_rate: float  # Adam's, for g and a learnt prior
    prior: tuple
    methods: tuple  # the rows of the data set's table
    learn_prior: bool = False
    smoothing: float = 1e-4  # eps of the aggregator's initial weights
    crowd_layer_start: str = "identity"  # or "aggregator": the aggregator's initial weights
    augment: str = "none"


def subset(items, size, classes, flag):
    """The first `size` of a fixed shuffle, every class kept, in their original order; all of them for None."""
    if size is None or size == len(items):
        return items
    if not classes <= size <= len(items):
        raise UserError(f"{flag} {size}: there are {len(items)} items of {classes} classes; "
                        f"give a number from {classes} to {len(items)}")
    shuffled = np.random.RandomState(0).permutation(len(items))
    _, first = np.unique(items.truth.numpy()[shuffled], return_index=True)  # the first item of each class
    order = np.concatenate([shuffled[first], np.delete(shuffled, first)])
    return items.select(torch.from_numpy(np.sort(order[:size])))


def synthesized(train, test, class_names, experts, options):
    """The Dataset with the paper's crowd for options.case, cut to options.train_size and test_size.

    The crowd is drawn for all items before the cut, so that an item's labels do not depend on it.
    """
    def crowd_of(items, seed):
        return replace(items, crowd=synthesize(items.truth.numpy(), experts, options.case, seed))
    classes = len(class_names)
    train = subset(crowd_of(train, TRAIN_SEED), options.train_size, classes, "--train-size")
    test = subset(crowd_of(test, TEST_SEED), options.test_size, classes, "--test-size")
    return Dataset(train, test, class_names, annotator_names(experts, options.case))
