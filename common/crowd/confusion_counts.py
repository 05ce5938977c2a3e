"""Confusion counts of annotators and their priors: the M-step of the label model (see bayes.py for the mathematics)."""
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.special import betaln, comb, digamma, expit, gammaln

START = 2., .5  # of alpha, on the diagonal and beside it: annotators are taken to be better than chance, weakly
PSEUDO_ANNOTATORS = PSEUDO_LABELS = 10
SPAMMERS = 1., 19.  # the Beta prior of lambda: one annotator in twenty
PRIOR_ROUNDS = 25  # of alpha and r, where the posterior does not change
TIED_ROUNDS, FREE_ROUNDS = 3, 8  # the last round without r, and the last whose alpha is tied
FLOOR, LARGEST = 1e-3, 1e5  # the least value of alpha, and the largest sum of a row
STEP = .1  # of the logarithm of a row's sum, for the second derivative


def digamma_above(counts, prior):
    """digamma(counts + prior) - digamma(prior)."""
    return digamma(counts + prior) - digamma(prior)


def tied_matrix(tied, classes):
    """float (C, C): one value on the diagonal, and one beside it."""
    on, beside = tied
    return np.full((classes, classes), beside) + (on - beside) * np.eye(classes)


def pseudo_counts(tied, classes):
    """float (K, 2): P(n[c, l] > k) for k < K on the diagonal and beside it, where n has K = PSEUDO_LABELS labels a row by a
    tied alpha.

    n[c, l] is beta-binomial. The mean of digamma(n + alpha) - digamma(alpha) is the sum of P(n > k) / (alpha + k).
    """
    on, beside = tied
    values = np.array(tied)
    rest = np.maximum(on + (classes - 1) * beside - values, FLOOR)
    k = np.arange(PSEUDO_LABELS)[:, None]
    p = comb(PSEUDO_LABELS, k) * np.exp(betaln(k + values, PSEUDO_LABELS - k + rest) - betaln(values, rest))
    return 1 - p.cumsum(0)


def dirichlet_step(alpha, above, times):
    """alpha (R, K) after one step towards the maximum of its Dirichlet-multinomial likelihood (Minka 2000).

    The mean of a row follows the fixed point. Its sum, which the fixed point moves too slowly, follows Newton's method for
    its logarithm, with the second derivative by differences.

    above: a function of alpha to the sums over annotators of digamma(n + alpha) - digamma(alpha) of the cells, (R, K), and
    of the rows' sums, (R,); times: (K,), how many cells of a row share a value.
    """
    def slope(alpha):
        gained, spent = above(alpha)
        return gained, (alpha * gained).sum(1) - (alpha @ times) * spent
    (gained, first), (_, second) = slope(alpha), slope(alpha * np.exp(STEP))
    if not gained.any():
        return alpha
    curve = (second - first) / STEP
    step = np.where(curve < 0, -first / np.where(curve < 0, curve, 1), np.sign(first)).clip(-1, 1)
    sums = np.minimum((alpha @ times) * np.exp(step), LARGEST)
    mean = alpha * gained / times
    return np.maximum(mean * (sums / (mean @ times))[:, None], FLOOR)


@dataclass(frozen=True)
class Annotators:
    """What the model says of the annotators.

    counts: (U, C), n^m[c, l] for each of the U pairs (m, l) that occur; total: (M, C), their sums over l; alpha: (C, C);
    tied: alpha's diagonal and off-diagonal value if all classes share them; honest: (M,), r_m; spammers: lambda.
    """
    counts: np.ndarray
    total: np.ndarray
    alpha: np.ndarray
    tied: tuple
    honest: np.ndarray
    spammers: float


class ConfusionCounts:
    """A crowd's labels as sparse matrices, and what is counted of them.

    crowd: CrowdLabels of N items, M annotators, C classes, L labels; clusters: int (M,), the representative of each
    annotator's cluster of copies, whose labels of an item count as one, or None.
    """

    def __init__(self, crowd, clusters=None):
        self.crowd, self.items, self.people, self.classes = crowd, len(crowd), crowd.annotators, crowd.classes
        self.item, self.annotator, self.label = (a.cpu().numpy().astype(np.int64) for a in (
            crowd.item, crowd.annotator, crowd.label))
        rows, self.row = np.unique(self.annotator * self.classes + self.label, return_inverse=True)
        self.row_annotator, self.row_label = rows // self.classes, rows % self.classes
        self.number = np.bincount(self.annotator, minlength=self.people)
        self.groups, weight = None, np.ones(len(self.label))
        if clusters is not None and (clusters != np.arange(self.people)).any():
            _, self.group, size = np.unique(self.item * self.people + clusters[self.annotator], return_inverse=True,
                                            return_counts=True)
            weight = 1 / size[self.group]
            self.groups = sparse.csr_matrix((weight, (self.group, self.row)), (len(size), len(rows)))
        self.bags = sparse.csr_matrix((weight, (self.item, self.row)), (self.items, len(rows)))
        self.counting = sparse.csr_matrix((np.ones(len(self.label)), (self.row, self.item)), (len(rows), self.items))
        every, ones = np.arange(len(rows)), np.ones(len(rows))
        self.by_annotator = sparse.csr_matrix((ones, (self.row_annotator, every)), (self.people, len(rows)))
        self.by_label = sparse.csr_matrix((ones, (self.row_label, every)), (self.classes, len(rows)))

    def start(self):
        """Annotators before anything is counted."""
        return Annotators(None, None, tied_matrix(START, self.classes), START, np.ones(self.people),
                          SPAMMERS[0] / sum(SPAMMERS))

    def count(self, posterior, known, k):
        """The Annotators counted from a posterior (N, C) in round k; alpha, r and lambda go on from those `known`.

        Round 0 only counts. The tied alpha is learnt first, then r with it, and then alpha: a prior that is far off takes
        annotators for spammers, and spammers make the prior of a rare class vague.
        """
        counts = self.counting @ posterior
        return self._update(replace(known, counts=counts, total=self.by_annotator @ counts), k)

    def _update(self, known, k):
        """The Annotators after the step of round k."""
        if not k:
            return known
        counts, total, honest, spammers = known.counts, known.total, known.honest, known.spammers
        tied = self._update_tied(counts, total, known)
        alpha = (self._update_alpha(counts, total, known, tied) if k > FREE_ROUNDS
                 else tied_matrix(tied, self.classes))
        if k > TIED_ROUNDS:
            honest, spammers = self._update_honest(counts, total, alpha, spammers)
        return Annotators(counts, total, alpha, tied, honest, spammers)

    def _update_tied(self, counts, total, known):
        """One step for one value on alpha's diagonal and one beside it."""
        weight = known.honest * (self.number > 0)
        cells, own = weight[self.row_annotator], (np.arange(len(counts)), self.row_label)

        def above(tied):
            (on, beside), = tied
            right = cells @ digamma_above(counts[own], on)
            every = digamma_above(counts, beside)
            wrong = cells @ (every.sum(1) - every[own])
            both = weight @ digamma_above(total, on + (self.classes - 1) * beside).sum(1)
            return np.array([[right, wrong]]), np.array([both])
        return tuple(dirichlet_step(np.array([known.tied]), above, np.array([1, max(self.classes - 1, 1)]))[0])

    def _update_alpha(self, counts, total, known, tied):
        """One step for alpha (C, C), the pseudo-annotators with it."""
        weight = known.honest * (self.number > 0)
        more = pseudo_counts(tied, self.classes)

        def above(alpha):
            of_labels = digamma(counts + alpha.T[self.row_label]) - digamma(alpha).T[self.row_label]
            gained = (self.by_label @ (weight[self.row_annotator, None] * of_labels)).T
            gained += PSEUDO_ANNOTATORS * sum(tied_matrix(p, self.classes) / (alpha + k) for k, p in enumerate(more))
            sums = alpha.sum(1)
            return gained, weight @ digamma_above(total, sums) + PSEUDO_ANNOTATORS * digamma_above(PSEUDO_LABELS, sums)
        return dirichlet_step(known.alpha, above, np.ones(self.classes))

    def _update_honest(self, counts, total, alpha, spammers):
        """(r (M,), lambda): by the log-likelihoods of each annotator's counts."""
        above = gammaln(counts + alpha.T[self.row_label]) - gammaln(alpha).T[self.row_label]
        honest = self.by_annotator @ above.sum(1)
        honest += (gammaln(alpha.sum(1)) - gammaln(total + alpha.sum(1))).sum(1)
        own, each = counts.sum(1), 1 / self.classes
        ignoring = self.by_annotator @ (gammaln(own + each) - gammaln(each)) - gammaln(total.sum(1) + 1)
        r = expit(honest - ignoring + np.log((1 - spammers) / spammers))
        r[self.number == 0] = 1
        return r, ((1 - r).sum() + SPAMMERS[0]) / ((self.number > 0).sum() + sum(SPAMMERS))

    def settle(self, posterior):
        """The Annotators of a posterior (N, C) that stays as it is."""
        known = self.count(posterior, self.start(), 0)
        for k in range(PRIOR_ROUNDS):
            known = self._update(known, k + 1)
        return known
