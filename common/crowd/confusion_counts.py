"""Confusion counts of annotators and their priors: the M-step of the label model (see bayes.py for the mathematics)."""
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.special import digamma, expit, gammaln

START = 2., .5  # of alpha, on the diagonal and beside it: annotators are taken to be better than chance, weakly
PSEUDO_ANNOTATORS = PSEUDO_LABELS = 10.
SPAMMERS = 1., 19.  # the Beta prior of lambda: one annotator in twenty
PRIOR_ROUNDS = 15  # of alpha and r, where the posterior does not change


def digamma_above(counts, prior):
    """digamma(counts + prior) - digamma(prior)."""
    return digamma(counts + prior) - digamma(prior)


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
        on, beside = START
        alpha = np.full((self.classes, self.classes), beside) + (on - beside) * np.eye(self.classes)
        return Annotators(None, None, alpha, START, np.ones(self.people), SPAMMERS[0] / sum(SPAMMERS))

    def count(self, posterior, known, update=True):
        """The Annotators counted from a posterior (N, C); alpha, r and lambda go on from those `known`, unless not
        `update`."""
        counts = self.counting @ posterior
        counted = replace(known, counts=counts, total=self.by_annotator @ counts)
        return self._update(counted) if update else counted

    def _update(self, known):
        """The Annotators after one step for alpha, r and lambda."""
        counts, total = known.counts, known.total
        tied = self._update_tied(counts, total, known)
        alpha = self._update_alpha(counts, total, known, tied)
        honest, spammers = self._update_honest(counts, total, alpha, known.spammers)
        return Annotators(counts, total, alpha, tied, honest, spammers)

    def _update_tied(self, counts, total, known):
        """One step of the fixed point for one value on alpha's diagonal and one beside it."""
        on, beside = known.tied
        weight = (known.honest * (self.number > 0))[self.row_annotator]
        own = np.arange(len(counts)), self.row_label
        right = weight @ digamma_above(counts[own], on)
        all_beside = digamma_above(counts, beside)
        wrong = weight @ (all_beside.sum(1) - all_beside[own])
        both = (known.honest * (self.number > 0)) @ digamma_above(total, on + (self.classes - 1) * beside).sum(1)
        if both <= 0:
            return known.tied
        return max(on * right / both, 1e-3), max(beside * wrong / both / max(self.classes - 1, 1), 1e-3)

    def _update_alpha(self, counts, total, known, tied):
        """One step of Minka's fixed point, the pseudo-annotators with it. Returns alpha (C, C)."""
        on, beside = tied
        alpha = known.alpha
        tied_rows = np.full(alpha.shape, beside) + (on - beside) * np.eye(self.classes)
        pseudo = PSEUDO_LABELS * tied_rows / tied_rows.sum(1, keepdims=True)
        weight = known.honest * (self.number > 0)
        above = digamma(counts + alpha.T[self.row_label]) - digamma(alpha).T[self.row_label]
        gained = self.by_label @ (weight[self.row_annotator, None] * above)
        gained = gained.T + PSEUDO_ANNOTATORS * digamma_above(pseudo, alpha)
        sums = alpha.sum(1)
        spent = weight @ digamma_above(total, sums) + PSEUDO_ANNOTATORS * digamma_above(PSEUDO_LABELS, sums)
        return np.maximum(alpha * gained / spent[:, None], 1e-3)

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
        known = self.count(posterior, self.start(), update=False)
        for _ in range(PRIOR_ROUNDS):
            known = self._update(known)
        return known
