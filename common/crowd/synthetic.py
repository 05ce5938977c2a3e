"""The crowds that the Max-MIG paper synthesizes."""
from dataclasses import dataclass

import numpy as np

from common.crowd.labels import CrowdLabels


@dataclass(frozen=True)
class Experts:
    """A synthesized crowd. confusion: (S, C, C) float64, the seniors' P(label | truth), rows the true class.

    naive: how many juniors always say class 0 (case 2); copied: the senior that each junior copies (case 3).
    """
    confusion: np.ndarray
    naive: int
    copied: tuple


def senior_labels(truth, confusion, seed):
    """int32 (N, S): the very labels of numpy.random.choice(C, 1, p=row), item by item, senior by senior.

    One draw a label from NumPy's legacy generator, held against the row's cumulative sum as `choice` does.
    """
    cumulative = confusion.cumsum(2)
    cumulative /= cumulative[:, :, -1:]
    draws = np.random.RandomState(seed).random_sample((len(truth), len(confusion)))
    labels = np.zeros(draws.shape, np.int32)
    for bound in range(confusion.shape[2] - 1):
        labels += cumulative[:, :, bound].T[truth] <= draws
    return labels


def synthesize(truth, experts, case, seed):
    """CrowdLabels of a case: 1 the seniors alone, 2 with naive juniors, 3 with juniors who copy a senior.

    truth: integer array (N,).
    """
    seniors = senior_labels(np.asarray(truth), experts.confusion, seed)
    juniors = {1: seniors[:, :0],
               2: np.zeros((len(seniors), experts.naive), np.int32),
               3: seniors[:, list(experts.copied)]}[case]
    return CrowdLabels.from_dense(np.concatenate([seniors, juniors], 1), experts.confusion.shape[1])


def annotator_names(experts, case):
    """What each annotator of a synthesized crowd is, in the order of their numbers."""
    juniors = {1: [], 2: ["junior, always 0"] * experts.naive, 3: [f"junior, copies {k}" for k in experts.copied]}
    return [f"senior {k}" for k in range(len(experts.confusion))] + juniors[case]


def pair_experts(pairs):
    """The Max-MIG paper's CIFAR-10 crowds, over any five pairs of classes that are hard to distinguish.

    pairs: five (first, second). Returns {1: high expertise, 0: low expertise}. High: nobody errs outside a pair;
    annotator 0 always says the first of a pair, 1 is 50/50, 2 is right on pairs 2 and 3 and 50/50 elsewhere,
    3 is right on pairs 0, 1 and 4 and does as annotator 0 elsewhere, 4 is right with .6. Low: ten annotators
    right with .2, the rest spread evenly.
    """
    # the probability that each senior is right, on the first and on the second class of each pair
    right = np.array([
        [(1, 0)] * 5,
        [(.5, .5)] * 5,
        [(.5, .5), (.5, .5), (1, 1), (1, 1), (.5, .5)],
        [(1, 1), (1, 1), (1, 0), (1, 0), (1, 1)],
        [(.6, .6)] * 5,
    ])
    first, second = np.array(pairs).T
    high = np.zeros((5, 10, 10))
    high[:, first, first], high[:, second, second] = right[:, :, 0], right[:, :, 1]
    high[:, first, second], high[:, second, first] = 1 - right[:, :, 0], 1 - right[:, :, 1]
    low = np.full((10, 10, 10), .8 / 9)
    low[:, np.arange(10), np.arange(10)] = .2
    return {1: Experts(high, 5, (0, 0, 2, 2, 2)), 0: Experts(low, 5, (0, 2))}
