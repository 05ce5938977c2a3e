"""Who copies whom: copiers are found, and nobody is accused for being good, for hard items or for favourite labels."""
import numpy as np
import pytest

from common.crowd.bayes import LabelModel
from common.crowd.copying import find_copies
from common.crowd.labels import CrowdLabels
from test_bayes import crowd_of, one_coin


def dense_of(seed, accuracies, classes=4, items=500, missing=.2):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, items)
    return random, truth, crowd_of(truth, one_coin(accuracies, classes), random, missing)[1]


def copies_in(dense, classes=4, h=None):
    return find_copies(LabelModel(CrowdLabels.from_dense(dense, classes)), h)


@pytest.mark.parametrize("rate", [.85, 1.])
def test_copiers_are_found_with_their_evidence(rate):
    """Annotators 5 and 6 take most labels from annotator 2."""
    random, truth, dense = dense_of(0, [.8, .7, .7, .6, .8, .7, .7])
    for m in (5, 6):
        copied = (dense[:, 2] >= 0) & (dense[:, m] >= 0) & (random.random(500) < rate)
        dense[copied, m] = dense[copied, 2]
    found = copies_in(dense)
    np.testing.assert_array_equal(found.representative, [0, 1, 2, 3, 4, 2, 2])
    assert {(2, 5), (2, 6)} <= set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    for a, b, common, shared, expected in zip(found.first, found.second, found.common, found.shared, found.expected,
                                              strict=True):
        both = (dense[:, a] >= 0) & (dense[:, b] >= 0)
        assert common == both.sum()
        assert 2 * expected < shared <= 1.1 * (both & (dense[:, a] == dense[:, b]) & (dense[:, a] != truth)).sum()


def test_whoever_copies_less_than_most_labels_is_not_accused():
    """Two good annotators whom the others outvote look the same."""
    random, _, dense = dense_of(1, [.6] * 7)
    for m in (5, 6):
        copied = (dense[:, 2] >= 0) & (dense[:, m] >= 0) & (random.random(500) < .7)
        dense[copied, m] = dense[copied, 2]
    assert not len(copies_in(dense).first)


def test_good_annotators_among_bad_ones_are_no_copies():
    _, _, dense = dense_of(1, [.95, .95, .95, .4, .4, .3, .4])
    assert not len(copies_in(dense).first)


def test_hard_items_are_no_evidence():
    """On a quarter of the items everybody is drawn to the same wrong label."""
    random, truth, dense = dense_of(2, [.85] * 8)
    hard = np.flatnonzero(random.random(500) < .25)
    drawn = random.random((len(hard), 8)) < .6
    dense[hard] = np.where(drawn & (dense[hard] >= 0), ((truth[hard] + 1) % 4)[:, None], dense[hard])
    assert not len(copies_in(dense).first)


def test_favourite_labels_are_no_evidence():
    """Two who nearly always say the same class."""
    random, _, dense = dense_of(3, [.8, .7, .8, .7, .6, .6])
    for m in (4, 5):
        dense[:, m] = np.where(random.random(500) < .95, 0, dense[:, m])
    assert not len(copies_in(dense).first)


def test_few_shared_errors_are_no_evidence():
    """Two who know everything, and share no error."""
    _, truth, dense = dense_of(4, [.8, .7, .8, .7, .6, .8, .7], missing=0)
    dense[:, 3:5] = truth[:, None]
    assert not len(copies_in(dense).first)


def test_a_majority_of_copiers_is_found_by_a_classifier():
    """Four copies of one annotator among six others; the labels alone follow the copies."""
    random, truth, dense = dense_of(5, [.4] * 6, missing=0)
    dense = np.concatenate([dense, np.tile(dense[:, :1], (1, 4))], 1)
    h = .3 / 4 + .7 * np.eye(4)[np.where(random.random(500) < .9, truth, random.integers(0, 4, 500))]
    found = copies_in(dense, h=h)
    np.testing.assert_array_equal(found.representative, [0, 1, 2, 3, 4, 5, 0, 0, 0, 0])


def test_two_pairs_of_copies_who_sway_the_labels():
    """Ten weak annotators of two classes and a perfect copy of two of them: the labels alone would follow the copies."""
    random = np.random.default_rng(0)
    truth = (random.random(1500) < .165).astype(int)
    _, dense = crowd_of(truth, one_coin([.6] * 10, 2), random)
    found = copies_in(np.concatenate([dense, dense[:, :2]], 1), 2)
    np.testing.assert_array_equal(found.representative, [*range(10), 0, 1])


def test_crowds_that_are_too_small():
    assert not len(copies_in(np.array([[0, 1], [1, 1], [0, 0]]), 2).first)
    assert not len(copies_in(np.full((30, 3), -1), 2).first)
