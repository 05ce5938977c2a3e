"""Sparse crowd labels against plain loops over dense ones, and the synthesized crowds against NumPy's own choice."""
import warnings
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestCentroid

import cifar10
import digits
from common.crowd.labels import CrowdLabels, initial_weights, majority_vote, vote_shares
from common.crowd.synthetic import Experts, annotator_names, pair_experts, senior_labels, synthesize
from common.data.dataset import TRAIN_SEED, Items, synthesized
from common.networks.aggregator import Aggregator, forecast

CLASSES = 3
dense_labels = hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.integers(-1, CLASSES - 1))


def to_dense(crowd):
    dense = np.full((len(crowd), crowd.annotators), -1)
    dense[crowd.item, crowd.annotator] = crowd.label
    return dense


def shares_by_loop(dense):
    shares = np.zeros((len(dense), CLASSES))
    for i, row in enumerate(dense):
        for label in row[row >= 0]:
            shares[i, label] += 1 / (row >= 0).sum()
    return shares


@given(dense_labels, st.data())
@settings(deadline=None)
def test_select_and_batches(dense, data):
    crowd = CrowdLabels.from_dense(dense, CLASSES)
    np.testing.assert_array_equal(to_dense(crowd), dense)
    items = data.draw(st.lists(st.integers(0, len(dense) - 1), min_size=1, max_size=9))
    selected = crowd.select(torch.tensor(items))
    np.testing.assert_array_equal(to_dense(selected), dense[items])
    size = data.draw(st.integers(1, 4))
    batches = [to_dense(batch) for batch in selected.batches(size)]
    assert len(batches) == len(items) // size  # a last short one is left out
    for k, batch in enumerate(batches):
        np.testing.assert_array_equal(batch, dense[items][k * size:(k + 1) * size])


@given(dense_labels, st.integers(1, 4), st.integers(0, 9))
@settings(deadline=None)
def test_subsample(dense, keep, seed):
    crowd = CrowdLabels.from_dense(dense, CLASSES)
    subsampled = to_dense(crowd.subsample(keep, seed))
    np.testing.assert_array_equal((subsampled >= 0).sum(1), np.minimum((dense >= 0).sum(1), keep))
    np.testing.assert_array_equal(subsampled[subsampled >= 0], dense[subsampled >= 0])
    np.testing.assert_array_equal(to_dense(crowd.subsample(keep, seed)), subsampled)


def test_subsample_draws_all_annotators_alike():
    crowd = CrowdLabels.from_dense(np.zeros((3000, 4), int), CLASSES)
    counts = np.bincount(crowd.subsample(1, 0).annotator)
    assert counts.sum() == 3000 and abs(counts - 750).max() < 100  # four standard deviations


@pytest.mark.parametrize("case", [1, 2, 3])
def test_labels_are_kept_whatever_they_say(case):
    """--labels-per-item on a synthesized crowd: the numbers that drew the labels do not say which are kept."""
    truth = torch.arange(4000) % 2
    items = Items(torch.zeros(4000, 1), truth, list(range(4000)))
    experts = Experts(np.array([[[.55, .45], [.45, .55]]] * 10), 5, (0, 1))
    options = SimpleNamespace(case=case, labels_per_item=3, train_size=None, test_size=None)
    crowd = synthesized(items, items, ["cat", "dog"], experts, options).train.crowd
    whole = synthesize(truth.numpy(), experts, case, TRAIN_SEED)
    assert len(crowd.label) == 12_000
    for label in (0, 1):
        right, expected = ((c.label[truth[c.item] == label] == label).double().mean() for c in (crowd, whole))
        assert abs(right - expected) < .03


@given(dense_labels, st.integers(0, 9))
@settings(deadline=None)
def test_labels_given_twice(dense, seed):
    item, annotator = np.nonzero(dense >= 0)
    again = np.random.RandomState(seed).randint(0, 3, len(item))  # so often more, anywhere among the item's labels
    order = np.random.RandomState(seed).permutation(len(item) + again.sum())
    item, annotator, label = (np.repeat(values, again + 1)[order] for values in (item, annotator, dense[item, annotator]))
    crowd = CrowdLabels.from_triples(item, annotator, label, *dense.shape, CLASSES)
    once = crowd.keep(~crowd.repeats())
    np.testing.assert_array_equal(to_dense(once), dense)
    assert len(once.label) == (dense >= 0).sum()


@given(dense_labels)
@settings(deadline=None)
def test_votes(dense):
    crowd = CrowdLabels.from_dense(dense, CLASSES)
    counts = [[(row == c).sum() for c in range(CLASSES)] for row in dense]
    np.testing.assert_array_equal(crowd.votes(), counts)
    np.testing.assert_allclose(vote_shares(crowd), shares_by_loop(dense), rtol=1e-6)
    expected = [row.index(max(row)) if any(row) else -1 for row in counts]  # index: ties go to the lowest class
    assert majority_vote(crowd).tolist() == expected


@given(dense_labels)
@settings(deadline=None)
def test_initial_weights(dense):
    shares, epsilon = shares_by_loop(dense), 1e-2
    crowd = CrowdLabels.from_dense(dense, CLASSES)
    weights = initial_weights(crowd, vote_shares(crowd), epsilon).numpy()
    for m in range(dense.shape[1]):
        given_label = dense[:, m] >= 0
        for c in range(CLASSES):
            total = shares[given_label, c].sum()
            for label in range(CLASSES):
                said = shares[dense[:, m] == label, c].sum()
                # a class that no item of m's suggests has no evidence: uniform
                expected = np.log(epsilon + (said / total if total > 0 else 1 / CLASSES)) if given_label.any() else 0
                assert weights[m, c, label] == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(dense_labels, st.integers(0, 99))
@settings(deadline=None)
def test_aggregator_and_forecaster(dense, seed):
    random = np.random.default_rng(seed)
    weights = random.normal(size=(dense.shape[1], CLASSES, CLASSES))
    prior, h = random.dirichlet(np.ones(CLASSES)), random.dirichlet(np.ones(CLASSES), len(dense))
    aggregator, log_prior = Aggregator(torch.tensor(weights)), torch.tensor(np.log(prior))
    log_g = aggregator(CrowdLabels.from_dense(dense, CLASSES), log_prior)
    joint = forecast(torch.tensor(h), log_g, log_prior).detach()
    for i, row in enumerate(dense):
        score = prior.copy()
        for m, label in enumerate(row):
            if label >= 0:
                score *= np.exp(weights[m, :, label])
        g = score / score.sum()
        np.testing.assert_allclose(log_g[i].detach().exp(), g, rtol=1e-6)
        np.testing.assert_allclose(joint[i], h[i] * g / prior / (h[i] * g / prior).sum(), rtol=1e-6)
    rows = np.exp(weights) / np.exp(weights).sum(2, keepdims=True)
    np.testing.assert_allclose(aggregator.confusion(), rows, rtol=1e-6)


def test_count_confusion():
    random = np.random.default_rng(0)
    dense, posterior = random.integers(-1, CLASSES, (50, 4)), random.dirichlet(np.ones(CLASSES), 50)
    expected = np.zeros((4, CLASSES, CLASSES))
    for i, row in enumerate(dense):
        for m, label in enumerate(row):
            if label >= 0:
                expected[m, :, label] += posterior[i]
    counts = CrowdLabels.from_dense(dense, CLASSES).count_confusion(torch.tensor(posterior))
    np.testing.assert_allclose(counts, expected, rtol=1e-9)


TRUTH = np.arange(50_000) % 10
EXPERTS = cifar10.EXPERTS


@pytest.mark.parametrize("expertise", [0, 1])
@pytest.mark.parametrize("seed", [1234, 4321])
def test_seniors_are_those_of_numpy_choice(expertise, seed):
    confusion = EXPERTS[expertise].confusion
    random = np.random.RandomState(seed)
    one_by_one = [[random.choice(10, 1, p=row[c])[0] for row in confusion] for c in TRUTH[:500]]
    np.testing.assert_array_equal(senior_labels(TRUTH[:500], confusion, seed), one_by_one)


def test_pinned_labels():
    """The first hundred labels, and all 500,000, of the low-expertise crowd over 50,000 items of classes 0, 1, 2 ..."""
    labels = senior_labels(TRUTH, EXPERTS[0].confusion, 1234)
    first = "".join(map(str, labels[:10].ravel()))
    assert first == PINNED_FIRST
    assert zlib.crc32(labels.astype(np.uint8).tobytes()) == PINNED_CHECKSUM


PINNED_FIRST = "0537711798246625407825029637258371662938020654053415505979973652405911765128460346977188741659556907"
PINNED_CHECKSUM = 3592133413


@pytest.mark.parametrize(("expertise", "case", "annotators"), [
    (1, 1, 5), (1, 2, 10), (1, 3, 10), (0, 1, 10), (0, 2, 15), (0, 3, 12)])
def test_cases(expertise, case, annotators):
    experts = EXPERTS[expertise]
    crowd = synthesize(TRUTH[:2000], experts, case, 1234)
    dense, seniors = to_dense(crowd), len(experts.confusion)
    assert dense.shape == (2000, annotators) and len(annotator_names(experts, case)) == annotators
    np.testing.assert_array_equal(dense[:, :seniors], senior_labels(TRUTH[:2000], experts.confusion, 1234))
    if case == 2:
        assert (dense[:, seniors:] == 0).all()
    if case == 3:
        copied = [0, 0, 2, 2, 2] if expertise else [0, 2]
        np.testing.assert_array_equal(dense[:, seniors:], dense[:, copied])


def test_cifar_experts():
    """Each annotator as PAPERS describes them, class by class: P(label | truth), the others are zero."""
    rows = {
        0: {0: {0: 1}, 2: {0: 1}, 1: {1: 1}, 9: {1: 1}, 3: {3: 1}, 5: {3: 1}, 4: {4: 1}, 7: {4: 1}, 6: {6: 1}, 8: {6: 1}},
        1: {c: {c: .5, other: .5} for c, other in ((0, 2), (1, 9), (3, 5), (4, 7), (6, 8))},
        2: {0: {0: .5, 2: .5}, 9: {1: .5, 9: .5}, 3: {3: 1}, 5: {5: 1}, 4: {4: 1}, 7: {7: 1}, 8: {6: .5, 8: .5}},
        3: {0: {0: 1}, 2: {2: 1}, 1: {1: 1}, 9: {9: 1}, 3: {3: 1}, 5: {3: 1}, 4: {4: 1}, 7: {4: 1}, 6: {6: 1}, 8: {8: 1}},
        4: {0: {0: .6, 2: .4}, 2: {2: .6, 0: .4}, 9: {9: .6, 1: .4}, 5: {5: .6, 3: .4}, 7: {7: .6, 4: .4}},
    }
    for annotator, classes in rows.items():
        for c, expected in classes.items():
            row = EXPERTS[1].confusion[annotator, c]
            np.testing.assert_allclose(row, [expected.get(label, 0) for label in range(10)], atol=1e-12)
    np.testing.assert_allclose(EXPERTS[0].confusion.sum(2), 1)
    assert EXPERTS[0].confusion[7, 3, 3] == .2 and EXPERTS[0].confusion[7, 3, 4] == pytest.approx(.8 / 9)


def test_digit_pairs_are_those_with_most_confusions():
    """Of all ways to split the digits into pairs, the paper's pairs hold most confusions of the nearest mean image."""
    train, _ = digits.load()
    pixels, truth = train.inputs.raw(slice(None)).flatten(1).numpy(), train.truth.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the border pixels are the same in all images of a digit
        counts = confusion_matrix(truth, cross_val_predict(NearestCentroid(), pixels, truth, cv=10))
    counts = counts + counts.T

    def best(classes):
        if not classes:
            return 0, ()
        options = []
        for second in classes[1:]:
            total, pairs = best([c for c in classes[1:] if c != second])
            options.append((total + counts[classes[0], second], ((classes[0], second), *pairs)))
        return max(options)
    assert {frozenset(pair) for pair in best(list(range(10)))[1]} == {frozenset(pair) for pair in digits.PAIRS}
    np.testing.assert_array_equal(pair_experts(digits.PAIRS)[1].confusion, digits.EXPERTS[1].confusion)
