"""The label model: its steps against plain loops, and what it must do on crowds whose answer is known."""
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import digamma, gammaln
from scipy.stats import betabinom

from common.crowd.bayes import LabelModel
from common.crowd.confusion_counts import (
    FREE_ROUNDS,
    PSEUDO_ANNOTATORS,
    PSEUDO_LABELS,
    SPAMMERS,
    SPREAD,
    START,
    STEP,
    TIED_ROUNDS,
    tied_matrix,
)
from common.crowd.held_out import Score, combine, score
from common.crowd.labels import CrowdLabels
from common.crowd.tempering import log, softmax

ALL = 5 * (FREE_ROUNDS // 5 + 1)  # a round that updates everything


def crowd_of(truth, matrices, random, missing=0.):
    """The CrowdLabels of annotators with these confusion matrices (M, C, C), a share of the labels missing."""
    dense = np.stack([[random.choice(len(m), p=m[c]) for c in truth] for m in matrices], 1)
    dense[random.random(dense.shape) < missing] = -1
    return CrowdLabels.from_dense(dense, matrices.shape[1]), dense


def one_coin(accuracies, classes):
    accuracies = np.asarray(accuracies)[:, None, None]
    return accuracies * np.eye(classes) + (1 - accuracies) / (classes - 1) * (1 - np.eye(classes))


@pytest.fixture
def small():
    """(LabelModel, dense labels (N, M), a posterior (N, C)) of 40 items, 5 annotators and 3 classes, some labels missing."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 40)
    crowd, dense = crowd_of(truth, one_coin([.9, .8, .7, .5, .4], 3), random, .3)
    return LabelModel(crowd), dense, random.dirichlet(np.ones(3), 40)


def counts_by_loop(dense, posterior):
    """float (M, C, C): [m, c, l]."""
    counts = np.zeros((dense.shape[1], posterior.shape[1], posterior.shape[1]))
    for i, m in zip(*np.nonzero(dense >= 0), strict=True):
        counts[m, :, dense[i, m]] += posterior[i]
    return counts


def dirichlet_multinomial(counts, alpha):
    """The log-likelihood of counts (C,), without the constant that all alpha share."""
    return gammaln(alpha.sum()) - gammaln(alpha.sum() + counts.sum()) + (gammaln(alpha + counts) - gammaln(alpha)).sum()


def mean_of_pseudo(tied, alpha, function):
    """(C, C): the mean of function(n + alpha) - function(alpha) for n labels a row, drawn by a tied alpha."""
    on, beside = tied
    concentration = on + (len(alpha) - 1) * beside
    found = np.zeros(alpha.shape)
    for c, label in np.ndindex(*alpha.shape):
        own = on if c == label else beside
        for n in range(PSEUDO_LABELS + 1):
            p = betabinom.pmf(n, PSEUDO_LABELS, own, concentration - own)
            found[c, label] += p * (function(n + alpha[c, label]) - function(alpha[c, label]))
    return found


def priors_by_loop(alpha, ability):
    """(M, C, C): the parameters of each annotator's rows. The diagonal is multiplied, and the sum of a row stays."""
    found = np.zeros((len(ability), *alpha.shape))
    for m, c in np.ndindex(*found.shape[:2]):
        row = alpha[c].copy()
        row[c] *= np.exp(ability[m])
        found[m, c] = row / row.sum() * alpha[c].sum()
    return found


def step_by_loop(values, drawn, exposure, spent):
    """A row (K,) of Dirichlet parameters after a step: fixed point for its mean, Newton's method for its logarithmic sum.

    drawn, spent: functions of the row to the draws (K,), and to the sum of digamma(n + sum) - digamma(sum).
    """
    slopes = [drawn(scale * values).sum() - scale * values.sum() * spent(scale * values) for scale in (1., np.exp(STEP))]
    newton = np.clip(-slopes[0] * STEP / (slopes[1] - slopes[0]), -1, 1)
    assert slopes[1] < slopes[0]
    mean = drawn(values) / exposure
    return mean / mean.sum() * values.sum() * np.exp(newton)


def test_a_step_is_that_of_a_plain_loop(small):
    """Counts, the tied alpha, the abilities, alpha, r and lambda after one update of everything."""
    model, dense, posterior = small
    before = np.array([.5, .2, 0, -.3, -.4])
    start = replace(model.start(), ability=before)
    known = model.count(posterior, start, ALL)
    counts = counts_by_loop(dense, posterior)
    np.testing.assert_allclose(known.counts, counts[model.row_annotator, :, model.row_label])
    np.testing.assert_allclose(known.total, counts.sum(2))
    own = np.eye(3, dtype=bool)

    def draws(alpha):
        prior = priors_by_loop(alpha, before)
        return prior * (digamma(counts + prior) - digamma(prior))

    def spent(n, sums):
        return (digamma(n + sums) - digamma(sums)).sum()

    def exposure(alpha, ability):
        return draws(alpha).sum(2, keepdims=True) * priors_by_loop(alpha, ability) / alpha

    def tied_draws(row):
        drawn = draws(tied_matrix(row[:2], 3))
        return np.array([drawn[:, own].sum()] + [drawn[:, ~own].sum() / 2] * 2)
    first = tied_matrix(START, 3)
    exposed = exposure(first, before)
    on, beside, other = step_by_loop(
        first[0], tied_draws, np.array([exposed[:, own].sum()] + [exposed[:, ~own].sum() / 2] * 2),
        lambda row: spent(counts.sum(2), row.sum()))
    assert beside == other
    np.testing.assert_allclose(known.tied, (on, beside))

    drawn, prior = draws(first), priors_by_loop(first, before)
    ability, curve = np.zeros(5), np.zeros(5)
    for m in range(5):
        share = [prior[m, c, c] / prior[m, c].sum() for c in range(3)]
        slope = sum(drawn[m, c, c] - drawn[m, c].sum() * share[c] for c in range(3)) - before[m] / SPREAD
        curve[m] = sum(drawn[m, c].sum() * share[c] * (1 - share[c]) for c in range(3)) + 1 / SPREAD
        ability[m] = before[m] + np.clip(slope / curve[m], -1, 1)
    ability -= ability.mean()
    np.testing.assert_allclose(known.ability, ability)
    assert known.spread == pytest.approx(((ability ** 2 + 1 / curve).sum() + SPREAD) / 6)

    def with_row(c, row):
        alpha = first.copy()
        alpha[c] = row
        return alpha

    def pseudo(c, row):
        return PSEUDO_ANNOTATORS * row * mean_of_pseudo(known.tied, with_row(c, row), digamma)[c]
    expected = np.array([step_by_loop(
        first[c], lambda row, c=c: draws(with_row(c, row))[:, c].sum(0) + pseudo(c, row),
        exposure(first, ability)[:, c].sum(0) + pseudo(c, first[c]).sum(),
        lambda row, c=c: spent(counts[:, c].sum(1), row.sum()) + PSEUDO_ANNOTATORS * spent(PSEUDO_LABELS, row.sum()))
        for c in range(3)])
    np.testing.assert_allclose(known.alpha, expected)
    assert (model.count(posterior, model.start(), TIED_ROUNDS).honest == 1).all()
    tied = model.count(posterior, model.start(), FREE_ROUNDS)
    np.testing.assert_allclose(tied.alpha, tied_matrix(tied.tied, 3))

    prior, chance = priors_by_loop(expected, ability), SPAMMERS[0] / sum(SPAMMERS)
    for m in range(5):
        honest = sum(dirichlet_multinomial(counts[m, c], prior[m, c]) for c in range(3)) + np.log(1 - chance)
        honest -= (ability[m] ** 2 / known.spread + np.log(known.spread * curve[m])) / 2
        free = dirichlet_multinomial(counts[m].sum(0), np.full(3, 1 / 3)) + np.log(chance)
        assert known.honest[m] == pytest.approx(1 / (1 + np.exp(free - honest)))
    assert known.spammers == pytest.approx(((1 - known.honest).sum() + SPAMMERS[0]) / (5 + sum(SPAMMERS)))


def test_abilities_are_integrated_out():
    """An ability is the mode of its likelihood, and the evidence is that of a numerical integral over it."""
    random = np.random.default_rng(4)
    truth = random.integers(0, 3, 300)
    crowd, dense = crowd_of(truth, one_coin([.9, .8, .7, .6, .5, .4, .35], 3), random)
    model = LabelModel(crowd)
    known = model.m_step(np.eye(3)[truth])
    *_, evidence = model._update_ability(known, model.draws(known.alpha, known))
    counts, values = counts_by_loop(dense, np.eye(3)[truth]), np.linspace(-4, 4, 801)
    for m in range(7):
        likelihood = np.array([sum(dirichlet_multinomial(counts[m, c], row) for c, row in enumerate(
            priors_by_loop(known.alpha, np.array([a]))[0])) for a in values])
        joint = likelihood - values ** 2 / known.spread / 2
        best = joint.argmax()
        assert values[best] == pytest.approx(known.ability[m], abs=.1)
        integral = np.log(np.exp(joint - joint[best]).sum() * .01 / np.sqrt(2 * np.pi * known.spread)) + joint[best]
        assert integral - likelihood[best] == pytest.approx(evidence[m], abs=.1)
    assert (np.diff(known.ability) < 0).all()


def test_the_fixed_point_maximises_the_likelihood():
    """alpha, after many updates of counts that stay, is a stationary point of the likelihood with the pseudo-annotators."""
    random = np.random.default_rng(1)
    crowd, dense = crowd_of(random.integers(0, 3, 300), one_coin(random.uniform(.5, .9, 8), 3), random)
    model = LabelModel(crowd)
    truth = random.dirichlet(np.ones(3) / 9, 300)
    known = model.start()
    for _ in range(100):
        known = model.count(truth, known, ALL)
    counts = counts_by_loop(dense, truth)

    def likelihood(alpha):
        sums = alpha.sum(1)
        pseudo = mean_of_pseudo(known.tied, alpha, gammaln).sum() + (gammaln(sums) - gammaln(PSEUDO_LABELS + sums)).sum()
        prior = priors_by_loop(alpha, known.ability)
        return (sum(known.honest[m] * dirichlet_multinomial(counts[m, c], prior[m, c]) for m in range(8) for c in range(3))
                + PSEUDO_ANNOTATORS * pseudo)
    best = likelihood(known.alpha)
    for c in range(3):
        for k in range(3):
            for factor in (.97, 1.03):
                other = known.alpha.copy()
                other[c, k] *= factor
                assert likelihood(other) <= best + 1e-9


def test_a_class_without_items_has_the_tied_prior():
    """Its row of alpha is tied, and each annotator's matrix has their ability there too."""
    random = np.random.default_rng(2)
    truth = random.integers(0, 2, 400)
    crowd, _ = crowd_of(truth, one_coin([.95, .9, .8, .6, .4], 3), random)
    model = LabelModel(crowd)
    known = model.start()
    for _ in range(100):
        known = model.count(np.eye(3)[truth], known, ALL)
    on, beside = known.tied
    np.testing.assert_allclose(known.alpha[2], [beside, beside, on], rtol=1e-2)
    right = model.confusion(np.eye(3)[truth], known)[:, 2, 2]
    np.testing.assert_allclose(right, [.95, .9, .8, .6, .4], atol=.06)


def test_annotators_who_are_alike_have_a_certain_prior():
    """Ten people of one weak matrix: the learnt prior says so, and nobody is taken for a spammer."""
    random = np.random.default_rng(3)
    truth = random.integers(0, 10, 1000)
    crowd, _ = crowd_of(truth, one_coin([.2] * 10, 10), random)
    known = LabelModel(crowd).m_step(np.eye(10)[truth])
    assert (known.alpha.sum(1) > 500).all() and (known.honest > .99).all()
    np.testing.assert_allclose(np.diag(known.alpha) / known.alpha.sum(1), .2, atol=.03)


def test_the_posterior_is_that_of_a_plain_loop(small):
    """The tempered posterior with and without each label, and what labels say of one another."""
    model, dense, posterior = small
    known = model.m_step(posterior)
    solution = model.temper(posterior, known)
    counts = counts_by_loop(dense, posterior)
    prior = priors_by_loop(known.alpha, known.ability)
    pi = (counts + prior) / (counts + prior).sum(2, keepdims=True)
    r, shares, b = known.honest, np.log(posterior.mean(0)), solution.exponent
    information = []
    for k, (i, m, label) in enumerate(zip(model.item, model.annotator, model.label, strict=True)):
        others = shares + b * sum(r[a] * np.log(pi[a, :, dense[i, a]]) for a in range(5) if dense[i, a] >= 0 and a != m)
        others = softmax(others[None])[0]
        np.testing.assert_allclose(solution.others[k], others, rtol=1e-4, atol=1e-6)
        own = ((counts[m, :, label] - posterior[i] + prior[m, :, label])
               / (counts[m].sum(1) - posterior[i] + known.alpha.sum(1)))
        free = (counts[m, :, label].sum() - 1 + 1 / 3) / (counts[m].sum())
        own = r[m] * own + (1 - r[m]) * free
        information.append(np.log(others @ own) - np.log(posterior.mean(0) @ own))
    np.testing.assert_allclose(solution.information, np.bincount(model.item, information, 40), rtol=1e-4, atol=1e-4)
    assert solution.information.sum() == pytest.approx(np.sum(information), rel=1e-4)
    evidence = np.stack([shares + b * sum((r[a] * np.log(pi[a, :, dense[i, a]]) for a in range(5) if dense[i, a] >= 0),
                                          np.zeros(3)) for i in range(40)])
    np.testing.assert_allclose(solution.posterior, softmax(evidence), rtol=1e-9)


def test_the_exponent_is_the_likeliest(small):
    model, _, posterior = small
    known = model.m_step(posterior)
    found = model.temper(posterior, known)
    rows, own = model.likelihoods(posterior, known)
    evidence = model.bags @ rows
    others = evidence[model.item] - rows[model.row]

    def density(b):  # with Beta(2, 1)
        return np.log((softmax(b * others + np.log(posterior.mean(0))) * own).sum(1)).sum() + np.log(b)
    assert density(found.exponent) >= max(density(b) for b in np.linspace(.01, 1, 100)) - 1e-3


@pytest.mark.parametrize("more", [.05, .2])
@pytest.mark.parametrize("classes", [2, 5])
def test_most_items_with_one_label(classes, more):
    """Annotators with favourite labels: no class swallows the others, and the labels are nearly as good as the votes."""
    ours, votes = [], []
    for seed in range(4):
        random = np.random.default_rng(seed)
        truth = random.integers(0, classes, 400)
        favourites, skill = random.dirichlet(np.full(classes, .8), 12), random.uniform(.1, .6, 12)[:, None, None]
        _, dense = crowd_of(truth, skill * np.eye(classes) + (1 - skill) * favourites[:, None], random)
        order = random.random(dense.shape).argsort(1)
        dense[order >= 1 + (random.random((400, 1)) < more)] = -1
        model = LabelModel(CrowdLabels.from_dense(dense, classes))
        ours.append((model.labels().posterior.argmax(1) == truth).mean())
        votes.append((model.votes.argmax(1) == truth).mean())
    assert min(np.subtract(ours, votes)) > -.2 and np.mean(ours) > np.mean(votes) - .04


@pytest.mark.parametrize("classes", [2, 5])
def test_one_label_for_each_item(classes):
    """Labels that no other can be compared with say nothing of one another, exactly, and are believed."""
    random = np.random.default_rng(classes)
    dense = np.full((400, 12), -1)
    usual = random.dirichlet(np.full(classes, .8), 12).cumsum(1)[:, :-1]
    who = random.integers(0, 12, 400)
    dense[np.arange(400), who] = (random.random((400, 1)) > usual[who]).sum(1)
    model = LabelModel(CrowdLabels.from_dense(dense, classes))
    assert not model.temper(*model.em(model.alone.source)).information.any() and not model.alone.step.information.any()
    np.testing.assert_array_equal(model.labels().posterior.argmax(1), dense.max(1))


def test_the_mean_of_three_parts(small):
    model, *_ = small
    labels = model.labels()
    np.testing.assert_allclose(labels.posterior, sum(weight * p for weight, p, _ in labels.parts))
    assert [weight for weight, *_ in labels.parts] == [.5, .25, .25]
    votes = model.votes + model.votes.sum(0) / len(model.label)
    np.testing.assert_allclose(labels.parts[2][1], votes / votes.sum(1, keepdims=True))


def test_it_finds_the_truth_where_the_votes_do_not():
    """Three good annotators against four who share one confusion."""
    random = np.random.default_rng(0)
    truth = np.arange(600) % 3
    good, swap = one_coin([.9] * 3, 3), np.tile(np.full((3, 3), .1) + .7 * np.eye(3)[[1, 1, 1]], (4, 1, 1))
    crowd, _ = crowd_of(truth, np.concatenate([good, swap]), random)
    votes = (crowd.votes().argmax(1).numpy() == truth).mean()
    assert votes < .75 < .95 < (LabelModel(crowd).labels().posterior.argmax(1) == truth).mean()


def test_spammers_have_a_component_of_their_own():
    """Five annotators draw labels whatever the item; none of the five others is one."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 500)
    spam = np.tile(random.dirichlet(np.full(4, 5.), 5)[:, None], (1, 4, 1))
    crowd, _ = crowd_of(truth, np.concatenate([one_coin([.6] * 5, 4), spam]), random)
    labels = LabelModel(crowd).labels()
    assert labels.annotators.honest[:5].min() > .99 and labels.annotators.honest[5:].max() < .01
    assert (labels.posterior.argmax(1) == truth).mean() > .78


def test_a_rare_class_swallows_nothing():
    """3 % of a class that nobody recognises well; Dawid-Skene by maximum likelihood gives it many more items."""
    random = np.random.default_rng(3)
    truth = random.choice(3, 400, p=[.57, .4, .03])
    matrices = np.stack([np.array([[.8, .15, .05], [.15, .8, .05], [.4, .4, .2]])] * 12)
    crowd, _ = crowd_of(truth, matrices, random, .7)
    found = LabelModel(crowd).labels().posterior.argmax(1)
    assert (found == 2).mean() < .06 and (found == truth).mean() > .8


def test_no_unanimous_item_is_overturned():
    """Sixty items and three people, as in the smallest crowds: what all say is the label."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        truth = random.integers(0, 2, 60)
        crowd, dense = crowd_of(truth, one_coin(random.uniform(.7, .8, 3), 2), random)
        unanimous = dense.min(1) == dense.max(1)
        found = LabelModel(crowd).labels().posterior.argmax(1)
        np.testing.assert_array_equal(found[unanimous], dense[unanimous, 0])


def test_same_answers_same_label_whatever_the_order():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 30)
    _, dense = crowd_of(truth, one_coin([.8, .7, .6, .6], 3), random)
    dense = np.concatenate([dense, dense])
    posterior = LabelModel(CrowdLabels.from_dense(dense, 3)).labels().posterior
    np.testing.assert_allclose(posterior[:30], posterior[30:], rtol=1e-9)
    turned = LabelModel(CrowdLabels.from_dense(dense[::-1, ::-1].copy(), 3)).labels().posterior[::-1]
    np.testing.assert_allclose(posterior, turned, rtol=1e-3, atol=1e-4)


def test_gold_labels_are_certain_and_teach():
    """Two who always disagree: nothing tells who is right, but for twenty gold labels."""
    truth = np.arange(200) % 2
    crowd = CrowdLabels.from_dense(np.stack([truth, 1 - truth], 1), 2)
    gold = np.where(np.arange(200) < 20, truth, -1)
    labels = LabelModel(crowd, gold).labels()
    np.testing.assert_array_equal(labels.posterior[:20], np.eye(2)[truth[:20]])
    assert (labels.posterior.argmax(1) == truth).all()


def test_items_and_annotators_without_labels():
    dense = np.full((6, 4), -1)
    dense[:4, :3] = [[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 1]]
    labels = LabelModel(CrowdLabels.from_dense(dense, 2)).labels()
    assert np.isfinite(labels.posterior).all() and labels.annotators.honest[3] == 1
    np.testing.assert_allclose(labels.posterior[4], labels.posterior[5])


@pytest.fixture(scope="module")
def classified():
    """(crowd, truth, h): ten annotators that are right with .45 of five classes, and a classifier that is right with .85."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 5, 400)
    crowd, _ = crowd_of(truth, one_coin([.45] * 10, 5), random)
    said = np.where(random.random(400) < .85, truth, random.integers(0, 5, 400))
    return crowd, truth, .2 / 5 + .8 * np.eye(5)[said]


def test_a_classifier_and_labels_are_better_than_either(classified):
    crowd, truth, h = classified
    model = LabelModel(crowd)
    found = (model.labels(score(model, h).calibrated).posterior.argmax(1) == truth).mean()
    alone = (model.labels().posterior.argmax(1) == truth).mean()
    assert found > max(alone, (h.argmax(1) == truth).mean()) + .01


def test_a_useless_classifier_does_no_harm(classified):
    crowd, truth, _ = classified
    random = np.random.default_rng(1)
    good_crowd, _ = crowd_of(truth, one_coin([.8] * 5, 5), random)
    model = LabelModel(good_crowd)
    noise = random.dirichlet(np.ones(5) / 5, len(truth))
    labels, alone = model.labels(score(model, noise).calibrated), model.labels()
    assert (labels.posterior.argmax(1) == truth).mean() >= (alone.posterior.argmax(1) == truth).mean() - .01


def test_the_source_is_what_knows_more_of_the_labels(classified):
    """The classifier's predictions, or the shares of the votes where they are noise."""
    crowd, truth, h = classified
    model = LabelModel(crowd)
    np.testing.assert_array_equal(model.labels(h).parts[2][1], h)
    noise = np.random.default_rng(1).dirichlet(np.ones(5) / 5, len(truth))
    np.testing.assert_array_equal(model.labels(noise).parts[2][1], model.alone.source)


def test_the_score_is_that_of_a_plain_loop(small):
    """The mean over the labels of log sum_c h_c^(1/T) pi^m[c, l], pi by two steps of EM; T is the likeliest."""
    model, dense, h = small
    found = score(model, h)
    log_h, q = log(h), softmax(log(h))
    for step in range(2):
        known = model.m_step(q)
        counts, prior = counts_by_loop(dense, q), priors_by_loop(known.alpha, known.ability)
        own = []
        for i, m, label in zip(model.item, model.annotator, model.label, strict=True):
            pi = ((counts[m, :, label] - q[i] + prior[m, :, label])
                  / (counts[m].sum(1) - q[i] + known.alpha.sum(1)))
            free = (counts[m, :, label].sum() - 1 + 1 / 3) / counts[m].sum()
            own.append(known.honest[m] * pi + (1 - known.honest[m]) * free)

        def mean(scale, own=own):
            return np.log((softmax(scale * log_h[model.item]) * own).sum(1)).mean()
        scale = max(np.exp(np.linspace(-4, 1.5, 551)), key=mean)
        if step == 0:
            pi = (counts + prior) / (counts + prior).sum(2, keepdims=True)
            q = softmax(scale * log_h + np.stack([sum(
                (known.honest[a] * np.log(pi[a, :, dense[i, a]]) for a in range(5) if dense[i, a] >= 0), np.zeros(3))
                for i in range(40)]))
    assert found.mean == pytest.approx(mean(scale), abs=2e-4)
    assert found.items.sum() == pytest.approx(found.mean * len(model.label))
    np.testing.assert_allclose(found.calibrated, softmax(scale * log_h), atol=.01)


def test_the_score_ranks_classifiers_and_forgives_overconfidence(classified):
    crowd, truth, h = classified
    model = LabelModel(crowd)
    random = np.random.default_rng(2)
    worse = np.where((random.random(400) < .7)[:, None], h, h[random.permutation(400)])
    scores = [score(model, p).mean for p in (h, worse, np.full((400, 5), .2))]
    assert scores[0] > scores[1] > scores[2]
    sharper = h ** 3 / (h ** 3).sum(1, keepdims=True)
    assert score(model, sharper).mean == pytest.approx(scores[0], abs=.01)


def test_only_held_out_items_are_scored(classified):
    crowd, truth, h = classified
    held_out = np.arange(400) < 100
    model = LabelModel(crowd, held_out=held_out)
    found = score(model, h)
    assert (found.items[:100] != 0).all() and not found.items[100:].any()
    spoilt = h.copy()
    spoilt[300:] = spoilt[300:][:, [1, 2, 3, 4, 0]]
    assert abs(score(model, spoilt).mean - found.mean) < abs(score(LabelModel(crowd), spoilt).mean - found.mean)


def test_an_ensemble_of_those_within_one_standard_error(classified):
    """Two classifiers that err equally often, on other items, and one that knows nothing."""
    crowd, truth, _ = classified
    model, random = LabelModel(crowd), np.random.default_rng(4)
    wrong = random.permutation(400)
    predictions = {"bad": np.full((400, 5), .2)}
    for name, items in (("good", wrong[:60]), ("other", wrong[60:120])):
        said = truth.copy()
        said[items] = random.integers(0, 5, 60)
        predictions[name] = .2 / 5 + .8 * np.eye(5)[said]
    scores = {name: score(model, h) for name, h in predictions.items()}
    mixed, shares = combine(model, scores)
    assert shares == {"good": .5, "other": .5}
    np.testing.assert_allclose(mixed, (scores["good"].calibrated + scores["other"].calibrated) / 2)


def test_an_ensemble_is_judged_on_the_held_out_items():
    """Two held-out items with the differences 1 and -.1: their mean .45 is more than its standard error, .55 / sqrt(2).
    With six items that were trained on, whose difference is 0, it would not be. With 1 and -.3 it is not either: .35 and
    .65 / sqrt(2)."""
    held_out = np.arange(8) < 2
    model = LabelModel(CrowdLabels.from_dense(np.arange(16).reshape(8, 2) % 2, 2), held_out=held_out)
    best = Score(-1., np.zeros(8), np.eye(2)[[0] * 8])
    for second, members in ((.1, ["best"]), (.3, ["best", "other"])):
        other = Score(-1.5, np.array([-1, second, *[0] * 6]), np.eye(2)[[1] * 8])
        assert list(combine(model, {"best": best, "other": other})[1]) == members


def test_copies_of_a_cluster_count_once():
    """Six copies of one annotator outvote three; as one cluster they do not."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 300)
    _, dense = crowd_of(truth, one_coin([.75] * 4, 3), random)
    dense = np.concatenate([dense, np.tile(dense[:, :1], (1, 5))], 1)
    crowd = CrowdLabels.from_dense(dense, 3)
    clusters = np.array([0, 1, 2, 3, 0, 0, 0, 0, 0])
    alone = (LabelModel(crowd).labels().posterior.argmax(1) == truth).mean()
    once = LabelModel(crowd, clusters=clusters).labels()
    assert alone < .8 < (once.posterior.argmax(1) == truth).mean()
    four = LabelModel(CrowdLabels.from_dense(dense[:, :4], 3)).labels()
    assert (once.posterior.argmax(1) == four.posterior.argmax(1)).mean() > .92


def test_repeated_labels_are_no_evidence_of_one_another():
    """Where each answer counts (--duplicates count), an annotator's others of the item are taken out with it."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 200)
    _, dense = crowd_of(truth, one_coin([.8, .7, .7], 3), random)
    item, annotator = np.divmod(np.arange(dense.size), 3)
    times = np.where(annotator == 0, 3, 1)
    model = LabelModel(CrowdLabels.from_triples(item.repeat(times), annotator.repeat(times), dense.ravel().repeat(times),
                                                200, 3, 3))
    alone, first = model.alone, model.annotator == 0
    items, rows = model.item[first], model.row[first]
    votes = model.votes + model.votes.sum(0) / len(model.label)
    votes = votes[items] - 3 * np.eye(3)[model.label[first]]
    np.testing.assert_allclose(alone.others[first], votes / votes.sum(1, keepdims=True), rtol=1e-5)
    evidence = (model.bags @ alone.step.rows)[items] - 3 * alone.step.rows[rows]
    expected = softmax(alone.step.exponent * evidence + np.log(alone.source.mean(0)))
    np.testing.assert_allclose(alone.step.others[first], expected, atol=1e-5)


def test_confusion_matrices():
    """Rows add up to one and are near the true ones; a spammer's are equal."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 900)
    matrices = np.concatenate([one_coin([.9, .7, .6], 3), np.tile([.6, .3, .1], (1, 3, 1))])
    crowd, _ = crowd_of(truth, matrices, random)
    model = LabelModel(crowd)
    labels = model.labels()
    found = model.confusion(labels.parts[0][1], labels.annotators)
    np.testing.assert_allclose(found.sum(2), 1)
    np.testing.assert_allclose(found, matrices, atol=.12)
    np.testing.assert_allclose(found[3], np.broadcast_to(found[3, :1], (3, 3)), atol=1e-6)


def test_without_labels_each_class_is_as_likely():
    empty = CrowdLabels.from_triples(*np.zeros((3, 0), int), 4, 2, 3)
    np.testing.assert_allclose(LabelModel(empty).labels().posterior, 1 / 3)
