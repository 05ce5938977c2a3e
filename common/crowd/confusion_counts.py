"""Confusion counts of annotators and their priors: the M-step of the label model (see bayes.py for the mathematics)."""
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.special import digamma, expit, gammaln
from scipy.stats import betabinom

START = 2., .5  # of alpha, on the diagonal and beside it: annotators are taken to be better than chance, weakly
PSEUDO_ANNOTATORS = PSEUDO_LABELS = 10
SPAMMERS = 1., 19.  # the Beta prior of lambda: one annotator in twenty
PRIOR_ROUNDS = 15  # after which EM updates the annotators in every fifth round only
TIED_ROUNDS, FREE_ROUNDS = 3, 8  # the last round without r, and the last whose alpha is tied
FLOOR, LARGEST = 1e-3, 1e5  # the least value of alpha, and the largest sum of a row
SPREAD = 1.  # variance of the abilities: the start, and that of one pseudo-annotator
STEP = .1  # of the logarithm of a row's sum, for the second derivative


def digamma_above(counts, prior):
    """digamma(counts + prior) - digamma(prior)."""
    return digamma(counts + prior) - digamma(prior)


def tied_matrix(tied, classes):
    """float (C, C): one value on the diagonal, and one beside it."""
    on, beside = tied
    return np.full((classes, classes), beside) + (on - beside) * np.eye(classes)


def scale(alpha, ability):
    """(M, C): what keeps the sum of each row of alpha (C, C), if its diagonal is multiplied by exp(ability), (M,)."""
    return 1 / (1 + (np.exp(ability)[:, None] - 1) * np.diag(alpha) / alpha.sum(1))


def prior_rows(alpha, ability, annotator, label):
    """(K, C): the Dirichlet parameters alpha^m[c, l] of K pairs (m, l). annotator, label: int (K,)."""
    rows = alpha.T[label] * scale(alpha, ability)[annotator]
    rows[np.arange(len(rows)), label] *= np.exp(ability)[annotator]
    return rows


def pseudo_counts(tied, classes):
    """float (K, 2): P(n[c, l] > k) for k < K on the diagonal and beside it, where n has K = PSEUDO_LABELS labels a row by a
    tied alpha.

    n[c, l] is beta-binomial. The mean of digamma(n + alpha) - digamma(alpha) is the sum of P(n > k) / (alpha + k).
    """
    on, beside = tied
    values = np.array(tied)
    rest = np.maximum(on + (classes - 1) * beside - values, FLOOR)
    return 1 - betabinom.pmf(np.arange(PSEUDO_LABELS)[:, None], PSEUDO_LABELS, values, rest).cumsum(0)


def dirichlet_step(alpha, draws, times):
    """alpha (R, K) after one step towards the maximum of its Dirichlet-multinomial likelihood (Minka 2000).

    The mean of a row follows the fixed point. Its sum, which the fixed point moves too slowly, follows Newton's method for
    its logarithm, with the second derivative by differences.

    draws: a function of alpha to the draws (R, K), their exposure (R, K), and the sums over annotators of digamma(n + sum)
    - digamma(sum) of the rows, (R,), see ConfusionCounts.draws; times: (K,), how many cells of a row share a value.
    """
    def slope(alpha):
        drawn, exposure, spent = draws(alpha)
        return drawn, exposure, drawn.sum(1) - (alpha @ times) * spent
    (drawn, exposure, first), (*_, second) = slope(alpha), slope(alpha * np.exp(STEP))
    if not drawn.any():
        return alpha
    curve = (second - first) / STEP
    step = np.where(curve < 0, -first / np.where(curve < 0, curve, 1), np.sign(first)).clip(-1, 1)
    sums = np.minimum((alpha @ times) * np.exp(step), LARGEST)
    mean = drawn / exposure / times
    return np.maximum(mean * (sums / (mean @ times))[:, None], FLOOR)


@dataclass(frozen=True)
class Annotators:
    """What the model says of the annotators.

    counts: (U, C), n^m[c, l] for each of the U pairs (m, l) that occur; total: (M, C), their sums over l; alpha: (C, C);
    tied: alpha's diagonal and off-diagonal value if all classes share them; ability: (M,), a_m; spread: v; honest: (M,),
    r_m; spammers: lambda.
    """
    counts: np.ndarray
    total: np.ndarray
    alpha: np.ndarray
    tied: tuple
    ability: np.ndarray
    spread: float
    honest: np.ndarray
    spammers: float


class ConfusionCounts:
    """A crowd's labels as sparse matrices, and what is counted of them.

    crowd: CrowdLabels of N items, M annotators, C classes, L labels; clusters: int (M,), the representative of each
    annotator's cluster of copies, whose labels of an item count as one, or None.
    """

    def __init__(self, crowd, clusters=None):
        self.crowd, self.items, self.annotators, self.classes = crowd, len(crowd), crowd.annotators, crowd.classes
        self.item, self.annotator, self.label = crowd.triples()
        rows, self.row = np.unique(self.annotator * self.classes + self.label, return_inverse=True)
        self.row_annotator, self.row_label = rows // self.classes, rows % self.classes
        self.number = np.bincount(self.annotator, minlength=self.annotators)
        # the labels of an item by one annotator or cluster: none is evidence of another; those of copies count as one
        self.groups, self.weight = None, np.ones(len(self.label))
        cluster = np.arange(self.annotators) if clusters is None else clusters
        groups, self.group, size = np.unique(self.item * self.annotators + cluster[self.annotator], return_inverse=True,
                                             return_counts=True)
        if len(groups) < len(self.label):
            copied = np.bincount(cluster, minlength=self.annotators) > 1
            self.weight = np.where(copied[cluster[self.annotator]], 1 / size[self.group], 1.)
            self.groups = sparse.csr_matrix((self.weight, (self.group, self.row)), (len(groups), len(rows)))
        self.bags = sparse.csr_matrix((self.weight, (self.item, self.row)), (self.items, len(rows)))
        self.counting = sparse.csr_matrix((np.ones(len(self.label)), (self.row, self.item)), (len(rows), self.items))
        every, ones = np.arange(len(rows)), np.ones(len(rows))
        self.by_annotator = sparse.csr_matrix((ones, (self.row_annotator, every)), (self.annotators, len(rows)))
        self.by_label = sparse.csr_matrix((ones, (self.row_label, every)), (self.classes, len(rows)))

    @cached_property
    def given(self):
        """float (M, C): how often each annotator gave each label."""
        given = np.zeros((self.annotators, self.classes))
        given[self.row_annotator, self.row_label] = np.bincount(self.row, minlength=len(self.row_label))
        return given

    def start(self):
        """Annotators before anything is counted."""
        return Annotators(None, None, tied_matrix(START, self.classes), START, np.zeros(self.annotators), SPREAD,
                          np.ones(self.annotators), SPAMMERS[0] / sum(SPAMMERS))

    def count(self, posterior, annotators, k):
        """The Annotators counted from a posterior (N, C) in round k; all else goes on from `annotators`.

        Round 0 only counts. The tied alpha is learnt first, then r with it, and then alpha: a prior that is far off takes
        annotators for spammers, and spammers make the prior of a rare class vague.
        """
        counts = self.counting @ posterior
        return self._update(replace(annotators, counts=counts, total=self.by_annotator @ counts), k)

    def _update(self, annotators, k):
        """The Annotators after the step of round k."""
        if not k or k > PRIOR_ROUNDS and k % 5:
            return annotators
        drawn = self.draws(annotators.alpha, annotators)

        def draws(alpha):
            return drawn if np.array_equal(alpha, annotators.alpha) else self.draws(alpha, annotators)
        tied = self._update_tied(annotators, draws) if k <= FREE_ROUNDS or k % 5 == 0 else annotators.tied
        ability, spread, evidence = self._update_ability(annotators, drawn)
        alpha = self._update_alpha(annotators, draws, tied, ability) if k > FREE_ROUNDS else tied_matrix(tied, self.classes)
        updated = replace(annotators, tied=tied, alpha=alpha, ability=ability, spread=spread)
        return self._update_honest(updated, evidence) if k > TIED_ROUNDS else updated

    def prior(self, alpha, ability):
        """(U, C): the prior_rows of the pairs that occur."""
        return prior_rows(alpha, ability, self.row_annotator, self.row_label)

    def draws(self, alpha, annotators):
        """(draws (U, C), their sums over the labels (M, C), spent (C,)), weighted by r_m.

        draws: how many of the counts are draws from the prior's mean, as the tables of a Chinese restaurant, alpha^m[c, l]
        (digamma(n + alpha^m) - digamma(alpha^m)); spent: the sums over annotators of digamma(n + sum) - digamma(sum) of the
        rows.
        """
        weight = annotators.honest * (self.number > 0)
        rows = self.prior(alpha, annotators.ability)
        draws = weight[self.row_annotator, None] * rows * digamma_above(annotators.counts, rows)
        return draws, self.by_annotator @ draws, weight @ digamma_above(annotators.total, alpha.sum(1))

    def _update_tied(self, annotators, draws):
        """One step for one value on alpha's diagonal and one beside it. draws: a function of alpha."""
        def tied_draws(tied):
            alpha = tied_matrix(tied[0], self.classes)
            drawn, total, spent = draws(alpha)
            right = drawn[np.arange(len(drawn)), self.row_label].sum()
            exposure = (total * scale(alpha, annotators.ability)).sum(1)
            return (np.array([[right, drawn.sum() - right]]),
                    np.array([[np.exp(annotators.ability) @ exposure, exposure.sum()]]), spent.sum(keepdims=True))
        return tuple(dirichlet_step(np.array([annotators.tied]), tied_draws, np.array([1, max(self.classes - 1, 1)]))[0])

    def _update_ability(self, annotators, drawn):
        """(a (M,), v, evidence (M,)) after one step of Newton's method and one of EM.

        drawn: the draws at their alpha; evidence: the logarithm of the factor by which the likelihood at a_m exceeds
        its mean over N(0, v), by Laplace's method, negative.
        """
        draws, total, _ = drawn
        right = np.bincount(self.row_annotator, draws[np.arange(len(draws)), self.row_label], self.annotators)
        mean = np.diag(annotators.alpha) / annotators.alpha.sum(1)
        share = np.exp(annotators.ability)[:, None] * scale(annotators.alpha, annotators.ability) * mean
        slope = right - (total * share).sum(1) - annotators.ability / annotators.spread
        curve = (total * share * (1 - share)).sum(1) + 1 / annotators.spread
        ability = annotators.ability + (slope / curve).clip(-1, 1)
        weight = annotators.honest * (self.number > 0)
        ability -= weight @ ability / max(weight.sum(), FLOOR)  # the mean of alpha has the average ability
        spread = (weight @ (ability ** 2 + 1 / curve) + SPREAD) / (weight.sum() + 1)
        return ability, spread, -(ability ** 2 / spread + np.log(spread * curve)) / 2

    def _update_alpha(self, annotators, draws, tied, ability):
        """One step for alpha (C, C), the pseudo-annotators with it. draws: a function of alpha; tied, ability: updated."""
        more, own = pseudo_counts(tied, self.classes), np.eye(self.classes, dtype=bool)

        def all_draws(alpha):
            drawn, total, spent = draws(alpha)
            exposure = total * scale(alpha, ability)
            pseudo = PSEUDO_ANNOTATORS * alpha * sum(tied_matrix(p, self.classes) / (alpha + k) for k, p in enumerate(more))
            on, beside = np.exp(ability) @ exposure + pseudo.sum(1), exposure.sum(0) + pseudo.sum(1)
            return ((self.by_label @ drawn).T + pseudo, np.where(own, on[:, None], beside[:, None]),
                    spent + PSEUDO_ANNOTATORS * digamma_above(PSEUDO_LABELS, alpha.sum(1)))
        return dirichlet_step(annotators.alpha, all_draws, np.ones(self.classes))

    def _update_honest(self, annotators, evidence):
        """The Annotators after r and lambda, by the log-likelihoods of each annotator's counts."""
        counts, sums, rows = annotators.counts, annotators.alpha.sum(1), self.prior(annotators.alpha, annotators.ability)
        honest = self.by_annotator @ (gammaln(counts + rows) - gammaln(rows)).sum(1)
        honest += evidence + (gammaln(sums) - gammaln(annotators.total + sums)).sum(1)
        own, each = counts.sum(1), 1 / self.classes
        ignoring = self.by_annotator @ (gammaln(own + each) - gammaln(each)) - gammaln(annotators.total.sum(1) + 1)
        r = expit(honest - ignoring + np.log((1 - annotators.spammers) / annotators.spammers))
        r[self.number == 0] = 1
        spammers = ((1 - r).sum() + SPAMMERS[0]) / ((self.number > 0).sum() + sum(SPAMMERS))
        return replace(annotators, honest=r, spammers=spammers)

    def m_step(self, posterior):
        """The Annotators of a posterior (N, C) that stays as it is."""
        annotators = self.count(posterior, self.start(), 0)
        for k in range(PRIOR_ROUNDS):
            annotators = self._update(annotators, k + 1)
        return annotators
