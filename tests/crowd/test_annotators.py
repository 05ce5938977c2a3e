"""What is said of annotators and of their agreement, against formulas by hand and other implementations."""
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from common.crowd import agreement, annotators
from common.crowd.aggregators import AGGREGATORS
from common.crowd.bayes import LabelModel, Labels
from common.crowd.copying import find_copies
from common.crowd.dawid_skene import dawid_skene
from common.crowd.dawid_skene import one_coin as one_coin_model
from common.crowd.fitted import FittedCrowd
from common.crowd.labels import CrowdLabels, vote_shares
from test_bayes import crowd_of, one_coin


def by_truth(model, truth, classes):
    """The Labels of a posterior that is the truth."""
    known = np.eye(classes)[truth]
    return Labels(known, [(1., known, known[model.item].astype(np.float32))], model.m_step(known))


def flags_of(model, labels):
    names = [str(m) for m in range(model.annotators)]
    return annotators.flags(model, annotators.kappas(model, labels), labels.annotators, find_copies(model), names)


def test_kappa_and_its_error_by_hand():
    """Ten items, truth 0 for six; one annotator says 0 for five of these and for one of the others."""
    truth = np.array([0] * 6 + [1] * 4)
    crowd = CrowdLabels.from_dense(np.array([[0, 0, 0, 0, 0, 1, 0, 1, 1, 1], truth]).T, 2)
    model = LabelModel(crowd)
    kappa = annotators.kappas(model, by_truth(model, truth, 2))
    chance = .6 * .6 + .4 * .4
    assert kappa.value[0] == pytest.approx((.8 - chance) / (1 - chance))
    assert kappa.value[0] == pytest.approx(cohen_kappa_score(truth, [0, 0, 0, 0, 0, 1, 0, 1, 1, 1]))
    variance = (chance + chance ** 2 - (.36 * 1.2 + .16 * .8)) / 10 / (1 - chance) ** 2  # Fleiss, Cohen & Everitt 1969
    assert kappa.error[0] == pytest.approx(variance ** .5)
    assert kappa.value[1] == pytest.approx(1)


def test_honest_annotators_of_a_rare_class_are_no_spammers():
    """5 % of a rare class, which people see in 75 % of the cases: none is flagged by the truth, true spammers are."""
    random = np.random.default_rng(0)
    truth = (random.random(2000) < .05).astype(int)
    spam = np.tile([.725, .275], (2, 2, 1))
    crowd, _ = crowd_of(truth, np.concatenate([one_coin([.75] * 6, 2), spam]), random, .4)
    model = LabelModel(crowd)
    assert flags_of(model, by_truth(model, truth, 2)) == [""] * 6 + ["spammer"] * 2


def test_what_is_flagged():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 400)
    matrices = np.concatenate([one_coin([.9, .8, .8, .7], 3), np.full((1, 3, 3), 1 / 3), one_coin([.05], 3)])
    _, dense = crowd_of(truth, matrices, random)
    few = np.where(np.arange(400) < 3, 0, -1)
    dense = np.column_stack([dense, np.zeros(400, int), few, np.full(400, -1), dense[:, 3]])
    model = LabelModel(CrowdLabels.from_dense(dense, 3))
    assert flags_of(model, model.labels()) == ["", "", "", "", "spammer", "adversary", "one label only",
                                                  "too few labels to tell", "no labels", "copies 3"]


def test_one_label_where_a_class_is_rare():
    """Sixteen right labels are no evidence where one item in eight is of the rare class. Two hundred of one class are."""
    random = np.random.default_rng(0)
    truth = np.arange(1600) % 8 // 7
    _, dense = crowd_of(truth, one_coin([.9, .85, .8, .9], 2), random)
    few, many = np.full(1600, -1), np.full(1600, -1)
    few[np.flatnonzero(truth == 0)[:16]], many[:200] = 0, 0
    model = LabelModel(CrowdLabels.from_dense(np.column_stack([dense, few, many]), 2))
    assert flags_of(model, model.labels()) == [""] * 4 + ["too few labels to tell", "one label only"]


def test_guessing_is_not_above_chance():
    """Where there are other labels to compare with: with one label an item there are none."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 400)
    _, dense = crowd_of(truth, np.concatenate([one_coin([.9] * 4, 3), np.full((2, 3, 3), 1 / 3)]), random, .5)
    model = LabelModel(CrowdLabels.from_dense(dense, 3))
    found = flags_of(model, model.labels())
    assert found[:4] == [""] * 4 and set(found[4:]) <= {"not above chance", "spammer"}
    single = np.where(np.arange(400)[:, None] % 2 == np.arange(2), random.integers(0, 2, (400, 1)), -1)
    model = LabelModel(CrowdLabels.from_dense(single, 2))
    assert flags_of(model, model.labels()) == ["too few labels to tell"] * 2


@pytest.mark.parametrize("model", [dawid_skene, one_coin_model, vote_shares])
def test_the_own_label_is_no_evidence_of_an_annotator_whatever_the_labels_follow(model):
    """Three labels an item by six annotators, of whom two guess."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 900)
    _, dense = crowd_of(truth, one_coin([1 / 3, 1 / 3, .7, .7, .7, .7], 3), random)
    absent = np.argsort(random.random(dense.shape), 1)[:, :3]
    np.put_along_axis(dense, absent, -1, 1)
    crowd = CrowdLabels.from_dense(dense, 3)
    by_label_model = FittedCrowd.of(LabelModel(crowd))
    by_other = by_label_model.by("majority-vote" if model is vote_shares else "another", model(crowd).double().numpy())
    for each in by_label_model, by_other:
        assert flags_of(each.model, each.labels) == ["not above chance"] * 2 + [""] * 4
    with_own = annotators.kappas(by_other.model, Labels(by_other.labels.posterior, [
        (1., by_other.labels.posterior, by_other.labels.posterior[by_other.model.item])], by_other.labels.annotators))
    kappas = annotators.kappas(by_other.model, by_other.labels).value
    assert (kappas[2:] < with_own.value[2:] - .15).all()


def test_intervals_hold_the_true_accuracy():
    """Of 95 % intervals of thirty annotators, on the items that they answered."""
    held = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        truth = random.integers(0, 3, 400)
        crowd, dense = crowd_of(truth, one_coin(random.uniform(.4, .9, 30), 3), random, .8)
        model = LabelModel(crowd)
        mean, low, high = annotators.accuracies(model, model.labels())
        true = np.array([(dense[:, m] == truth)[dense[:, m] >= 0].mean() for m in range(30)])
        assert (low <= mean).all() and (mean <= high).all()
        held.append((low <= true) & (true <= high))
    assert np.mean(held) >= .92


def test_an_interval_by_hand():
    """Of known labels, n of them: the Beta distribution of n a and n (1 - a), 95 % of it."""
    truth = np.arange(50) % 2
    dense = np.column_stack([np.where(np.arange(50) < 40, truth, 1 - truth), truth])
    model = LabelModel(CrowdLabels.from_dense(dense, 2))
    mean, low, high = annotators.accuracies(model, by_truth(model, truth, 2))
    assert mean[0] == pytest.approx(.8)
    assert (low[0], high[0]) == pytest.approx(tuple(stats.beta.ppf((.025, .975), 40, 10)), abs=1e-4)


def test_a_bootstrap_interval_has_95_percent():
    """A mean of 400 zeros and ones, half each, has the standard error .025."""
    statistics = np.column_stack([np.arange(400) % 2, np.ones(400)])
    found = agreement._bootstrap(statistics, lambda sums: sums[..., 0] / sums[..., 1])
    assert found.value == .5
    assert (found.low, found.high) == pytest.approx((.5 - 1.96 * .025, .5 + 1.96 * .025), abs=.006)


def test_an_annotator_without_labels_has_no_numbers():
    dense = np.array([[0, 0, -1], [1, 1, -1], [0, 1, -1]])
    model = LabelModel(CrowdLabels.from_dense(dense, 2))
    found = (*annotators.accuracies(model, model.labels()), annotators.kappas(model, model.labels()).value)
    assert all(np.isnan(values[2]) and not np.isnan(values[:2]).any() for values in found)


def test_information_by_hand():
    """A perfect annotator of two equal classes tells one bit, one who guesses none, the binary symmetric channel 1 -
    H(p)."""
    confusion = np.stack([np.eye(2), np.full((2, 2), .5), one_coin([.9], 2)[0]])
    entropy = -.9 * np.log2(.9) - .1 * np.log2(.1)
    np.testing.assert_allclose(annotators.information(confusion, np.array([.5, .5])), [1, 0, 1 - entropy], atol=1e-12)


def test_the_gain_of_another_answer_by_hand():
    confusion = one_coin([.9], 2)[0]
    noise = -.9 * np.log2(.9) - .1 * np.log2(.1)
    said = .8 * .9 + .2 * .1
    entropy = -said * np.log2(said) - (1 - said) * np.log2(1 - said)
    gains = annotators.expected_gain(np.array([[.5, .5], [.8, .2], [1, 0]]), confusion)
    np.testing.assert_allclose(gains, [1 - noise, entropy - noise, 0], atol=1e-12)
    uneven = np.array([[.9, .1], [.4, .6]])  # rows the true class: of two equal classes .65 of the labels say the first

    def entropy_of(p):
        return -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    gain, = annotators.expected_gain(np.array([[.5, .5]]), uneven)
    assert gain == pytest.approx(entropy_of(.65) - (entropy_of(.9) + entropy_of(.4)) / 2)


def test_krippendorff_against_crowd_kit():
    alpha_krippendorff = pytest.importorskip("crowdkit.metrics.data").alpha_krippendorff
    random = np.random.default_rng(0)
    crowd, dense = crowd_of(random.integers(0, 3, 60), one_coin([.8, .7, .6, .5], 3), random, .3)
    item, worker = np.nonzero(dense >= 0)
    table = pd.DataFrame({"task": item, "worker": worker, "label": dense[item, worker]})
    found = agreement.krippendorff_alpha(crowd.votes().double().numpy())
    assert found.value == pytest.approx(alpha_krippendorff(table)) and found.low < found.value < found.high
    assert agreement.krippendorff_alpha(np.array([[1., 0], [2, 0]])) is None


def test_fleiss_by_its_published_example():
    """Fleiss' table of fourteen raters and ten subjects: kappa is .210."""
    votes = np.array([[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
                      [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]], float)
    assert agreement.fleiss_kappa(votes).value == pytest.approx(.210, abs=5e-4)
    assert agreement.fleiss_kappa(votes[:, :4]) is None  # not equally many


def test_cohen_against_scikit_learn():
    random = np.random.default_rng(0)
    crowd, dense = crowd_of(random.integers(0, 3, 60), one_coin([.8, .7, .6, .5], 3), random, .3)
    dense[:55, 3] = -1  # too few items in common with anybody
    pairs = agreement.cohen_kappas(CrowdLabels.from_dense(dense, 3))
    assert sorted(zip(pairs["first"].tolist(), pairs["second"].tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert (np.diff(pairs["items"]) <= 0).all()
    for first, second, items, agreed, kappa in zip(*pairs.values(), strict=True):
        both = (dense[:, first] >= 0) & (dense[:, second] >= 0)
        one, other = dense[both, first], dense[both, second]
        assert items == both.sum() and agreed == pytest.approx((one == other).mean())
        assert kappa == pytest.approx(cohen_kappa_score(one, other))


@pytest.mark.parametrize("name, theirs", [("glad", "GLAD"), ("mace", "MACE"), ("dawid-skene", "DawidSkene"),
                                          ("one-coin", "OneCoinDawidSkene")])
def test_label_models_agree_with_crowd_kit(name, theirs):
    aggregation = pytest.importorskip("crowdkit.aggregation")
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 150)
    crowd, dense = crowd_of(truth, one_coin([.9, .8, .7, .6, .5, .5], 3), random, .3)
    item, worker = np.nonzero(dense >= 0)
    table = pd.DataFrame({"task": item, "worker": worker, "label": dense[item, worker]})
    kinds = {"GLAD": {"n_iter": 50}, "MACE": {"random_state": 0, "n_restarts": 3}, "DawidSkene": {"n_iter": 100},
             "OneCoinDawidSkene": {"n_iter": 100}}
    expected = getattr(aggregation, theirs)(**kinds[theirs]).fit_predict(table).reindex(range(150)).to_numpy()
    found = AGGREGATORS | {"dawid-skene": dawid_skene, "one-coin": one_coin_model}
    posterior = np.asarray(found[name](crowd))
    np.testing.assert_allclose(posterior.sum(1), 1, rtol=1e-5)
    assert (posterior.argmax(1) == expected).mean() >= .98
    assert (posterior.argmax(1) == truth).mean() >= (expected == truth).mean() - .01


def test_ebcc_finds_classes():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 300)
    crowd, _ = crowd_of(truth, one_coin([.8, .7, .7, .6, .6], 3), random)
    posterior = AGGREGATORS["ebcc"](crowd)
    np.testing.assert_allclose(posterior.sum(1), 1)
    assert (posterior.argmax(1) == truth).mean() > .85
    np.testing.assert_array_equal(posterior, AGGREGATORS["ebcc"](crowd))
