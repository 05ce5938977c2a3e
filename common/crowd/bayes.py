"""The label model: what each item's label is, from the annotators' labels and, where there is one, a classifier.

The model is a Bayesian classifier combination (Kim & Ghahramani 2012): Dawid-Skene with priors that are learnt, and a second
component for annotators who ignore the item (as in MACE, Hovy et al. 2013). Annotator m labels item i with y_i^m:

    z_i ~ Cat(p), p ~ Dir(1)                 the true class; with a classifier p_i = softmax(log h(x_i) / T)
    s_m ~ Bernoulli(lambda)                  whether m is a spammer; lambda ~ Beta(1, 19)
    y_i^m | z_i = c, s_m = 0 ~ Cat(pi^m_c)   pi^m_c ~ Dir(alpha^m_c); rows the true class
    y_i^m | z_i = c, s_m = 1 ~ Cat(rho^m)    rho^m ~ Dir(1 / C, ..., 1 / C)

The rows of a matrix share the annotator's ability a_m ~ N(0, v): alpha^m_c is row c of alpha (C, C), its diagonal multiplied
by exp(a_m), and scaled to the same sum. So a few labels tell good annotators from bad ones, in all classes.

It is fitted by variational EM. n^m[c, l] is the sum of q_i(c) over the items i that m labelled l, and r_m = P(s_m = 0):

    q_i(c) is proportional to exp(E[log p_c] + sum_m r_m E[log pi^m[c, y_i^m]])
    r_m    follows from the Dirichlet-multinomial likelihoods of n^m under the two components, a_m integrated out (Laplace)
    a_m    is at its mode, by Newton's method; v follows from the modes and curvatures
    alpha  maximises the likelihood of all n^m, weighted by r_m, by Minka's fixed point ("Estimating a Dirichlet
           distribution", 2000). Ten pseudo-annotators with ten labels a row count too, by their mean log-likelihood. They
           are drawn by a tied alpha (one value on the diagonal, one beside it, learnt of all annotators and classes), so
           a rare class gets no odd matrix. The first rounds learn this tied alpha only, and r and a with it.

An item's labels err together more than the model says, so they are tempered (a power posterior). With pi the posterior
means,

    q_i(c) is proportional to p_i(c) (prod_m pi^m[c, y_i^m]^r_m)^b

where T and b maximise the likelihood of each label given the other labels of its item; the label's own count is taken out of
its annotator's matrix. b ~ Beta(2, 1), so labels are believed where few items have two that could be compared. The posterior
that is reported is the mean of three, since none of the models is the true one:

    1/2  the end of EM if the labels of an item say more of one another there than after the single step, by more than a
         standard error of that information; else the single step
    1/4  a single step: matrices counted from the source alone
    1/4  the source: the classifier's calibrated predictions or, with labels alone, the shares of the votes, to which one
         vote of the average item is added
"""
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize, sparse
from scipy.special import digamma

from common.crowd.confusion_counts import Annotators, ConfusionCounts, prior_rows
from common.crowd.tempering import FLOOR, LOG_SCALES, fit_tempering, log, log_likelihoods, softmax

ROUNDS, TOLERANCE = 100, 1e-4  # EM: most rounds, and the mean change of the posterior that ends it
FITTED_LABELS = 50_000  # T and b are fitted on the labels of random items, about so many labels
WEIGHTS = .5, .25, .25


@dataclass(frozen=True)
class Solution:
    """One tempered posterior.

    posterior: (N, C); others: float32 (L, C), the same for each label's item without that label and its copies;
    exponent: b; information: (N,), what an item's labels say of one another, the sum over its labels of
    log P(label | the other labels) - log P(label), an estimate of their mutual information; rows: (U, C), r_m log
    pi^m[c, l]; annotators: what they rest on.
    """
    posterior: np.ndarray
    others: np.ndarray
    exponent: float
    information: np.ndarray
    rows: np.ndarray
    annotators: Annotators

    def says_more(self, other):
        """Whether it has more information than another Solution, by more than a standard error over the items."""
        gain = self.information - other.information
        return gain.mean() > gain.std() / len(gain) ** .5


@dataclass(frozen=True)
class Alone:
    """What the labels say without a classifier.

    source: (N, C), the shares of the votes; others: float32 (L, C), the same without each label; step: the single step; end:
    the Solution that counts, of EM or the step.
    """
    source: np.ndarray
    others: np.ndarray
    step: Solution
    end: Solution


@dataclass(frozen=True)
class Labels:
    """What the model says of the items: the posterior (N, C), and the parts of which it is the mean.

    parts: [(weight, posterior (N, C), others (L, C))], see Solution; annotators: the Annotators at the end of EM.
    """
    posterior: np.ndarray
    parts: list
    annotators: Annotators


class LabelModel(ConfusionCounts):
    """The label model of a crowd.

    crowd: CrowdLabels of N items, M annotators, C classes, L labels; gold: int (N,), the known labels, -1 for the others;
    held_out: bool (N,), whether a classifier has not seen the item's labels: only these items' labels score it; clusters:
    int (M,), the representative of each annotator's cluster of copies (see copying.py), whose labels of an item count as
    one. None for any of the three: no gold labels, all items, no copies.
    """

    def __init__(self, crowd, gold=None, held_out=None, clusters=None):
        super().__init__(crowd, clusters)
        self.gold = None if gold is None else np.asarray(gold)
        self.held_out = held_out
        self._step = None, None
        self.scored = np.arange(len(self.label)) if held_out is None else np.flatnonzero(np.asarray(held_out)[self.item])
        # whole items: every other label could be the labels of half of the annotators
        some = np.random.default_rng(0).random(self.items) * len(self.scored) < FITTED_LABELS
        self.fitted = self.scored[some[self.item[self.scored]]]

    def clamp(self, posterior):
        """The posterior (N, C), certain of the gold labels; in place."""
        return self._clamp(posterior, self.gold)

    def _clamp_others(self, others):
        """The posterior (L, C) of each label's item, certain of the gold labels; in place."""
        return self._clamp(others, None if self.gold is None else self.gold[self.item])

    def _clamp(self, posterior, gold):
        if gold is not None:
            known = gold >= 0
            posterior[known] = np.eye(self.classes)[gold[known]]
        return posterior

    @cached_property
    def votes(self):
        """float (N, C): how many labels of an item say each class."""
        return self.crowd.votes().double().cpu().numpy()

    @cached_property
    def alone(self):
        """Alone: what the labels say without a classifier."""
        average = self.votes.sum(0) if len(self.label) else np.ones(self.classes)
        average = average / average.sum()
        source = self.clamp((self.votes + average) / (self.votes.sum(1, keepdims=True) + 1))
        others = (self.votes + average)[self.item].astype(np.float32)
        if self.groups is None:
            others[np.arange(len(others)), self.label] -= 1
        else:
            cells = np.bincount(self.group * self.classes + self.label, minlength=self.groups.shape[0] * self.classes)
            others -= cells.reshape(-1, self.classes).astype(np.float32)[self.group]
        others = self._clamp_others(others / others.sum(1, keepdims=True))
        step, end = self.temper(source, self.m_step(source)), self.temper(*self.em(source))
        return Alone(source, others, step, end if end.says_more(step) else step)

    def em(self, posterior, log_prior=None):
        """(posterior (N, C), Annotators) at the end of EM, from a posterior. log_prior: (N, C); None: class shares are
        estimated, with one more item in each class."""
        annotators = self.start()
        for k in range(ROUNDS):
            annotators = self.count(posterior, annotators, k)
            rows = digamma(annotators.counts + self.prior(annotators.alpha, annotators.ability))
            rows -= digamma(annotators.total + annotators.alpha.sum(1))[self.row_annotator]
            rows *= annotators.honest[self.row_annotator, None]
            if log_prior is None:
                shares = posterior.sum(0) + 1
                prior = digamma(shares) - digamma(shares.sum())
            elif k % 5 == 0 or k < 10:
                prior = self.calibrate(posterior, annotators, log_prior) * log_prior
            before, posterior = posterior, self.clamp(softmax(self.bags @ rows + prior))
            if np.abs(posterior - before).sum() < TOLERANCE * 2 * self.items:
                break
        return posterior, annotators

    def likelihoods(self, posterior, annotators):
        """(rows (U, C): r_m log pi^m[c, l]; own float32 (L, C): P(label | class) of each label, its own count taken out)."""
        sums = annotators.total + annotators.alpha.sum(1)
        counts = annotators.counts + self.prior(annotators.alpha, annotators.ability)
        rows = log(counts / sums[self.row_annotator]) * annotators.honest[self.row_annotator, None]
        mine = posterior.astype(np.float32)[self.item]
        own = counts.astype(np.float32)[self.row]
        own -= mine
        np.subtract(sums.astype(np.float32)[self.annotator], mine, out=mine)
        own /= mine
        free = (annotators.counts.sum(1)[self.row] - 1 + 1 / self.classes) / self.number[self.annotator]
        honest = annotators.honest[self.annotator]
        own *= honest.astype(np.float32)[:, None]
        own += ((1 - honest) * free).astype(np.float32)[:, None]
        return rows, np.maximum(own, FLOOR, out=own)

    def without_own(self, posterior, annotators):
        """float32 (L, C): the posterior (N, C) of each label's item without that label and its copies, by Bayes' rule.
        annotators: the Annotators counted from it."""
        own = np.log(self.likelihoods(posterior, annotators)[1])
        if self.groups is not None:
            every = sparse.csr_matrix((self.weight, (self.group, np.arange(len(own)))))
            own = (every @ own)[self.group]
        return self._clamp_others(softmax(log(posterior).astype(np.float32)[self.item] - own.astype(np.float32)))

    def temper(self, posterior, annotators, log_prior=None):
        """The Solution of a posterior (N, C) and the Annotators counted from it; T and b are fitted.

        log_prior: (N, C), log h; None: the class shares of the posterior, whose temperature stays 1.
        """
        rows, own = self.likelihoods(posterior, annotators)
        evidence = self.bags @ rows
        others = evidence.astype(np.float32)[self.item]
        others -= (rows.astype(np.float32)[self.row] if self.groups is None
                   else (self.groups @ rows).astype(np.float32)[self.group])
        prior = np.broadcast_to(log(posterior.mean(0)), evidence.shape) if log_prior is None else log_prior
        exponent, scale = 1., 1.
        if len(self.fitted):
            exponent, scale = fit_tempering(others[self.fitted].astype(float), prior[self.item[self.fitted]],
                                            own[self.fitted].astype(float), fixed=log_prior is None)
        others *= np.float32(exponent)
        others += (scale * prior).astype(np.float32)[self.item]
        others = softmax(others)
        # subtracted before the logarithm, it is exactly 0 for an item with one label: rounding cannot decide in `says_more`
        shares = softmax(log(posterior.mean(0))[None].astype(np.float32))[0]
        more = (np.einsum("lc,lc->l", others - shares, own) / (own @ shares))[self.scored]
        information = np.bincount(self.item[self.scored], np.log1p(np.maximum(more, FLOOR - 1)), self.items)
        tempered = self.clamp(softmax(exponent * evidence + scale * prior))
        return Solution(tempered, self._clamp_others(others), exponent, information, rows, annotators)

    def step_from(self, h):
        """The Solution of a single step from a classifier's predictions h (N, C). That of the last h is kept."""
        if self._step[0] is not h:
            self._step = h, self.temper(h, self.m_step(h), log(h))
        return self._step[1]

    def calibrate(self, posterior, annotators, log_h):
        """1 / T that maximises the likelihood of the labels given the classifier alone. log_h: (N, C)."""
        own, log_h = self.likelihoods(posterior, annotators)[1][self.fitted], log_h[self.item[self.fitted]]
        return np.exp(optimize.minimize_scalar(lambda t: -log_likelihoods(np.exp(t) * log_h, own).mean(), bounds=LOG_SCALES,
                                               method="bounded", options={"xatol": 1e-2}).x)

    def labels(self, h=None):
        """The Labels. h: (N, C), a classifier's calibrated predictions that have not seen the items' own labels, or None.

        Where a single step from the votes has more information than a single step from h, the votes are the source. Where
        the end of EM without h has more than the one with it, it is taken.
        """
        source, others, step, end = self.alone.source, self.alone.others, self.alone.step, self.alone.end
        if h is not None:
            classified = self.step_from(h)
            if classified.information.sum() >= step.information.sum():
                source, step = self.clamp(h.copy()), classified
                others = source[self.item].astype(np.float32)
            both = self.temper(*self.em(step.posterior, log(h)), log(h))
            end = max(end, both, key=lambda solution: solution.information.sum())
            end = end if end.says_more(step) else step
        parts = [(weight, posterior, without) for weight, (posterior, without) in zip(WEIGHTS, (
            (end.posterior, end.others), (step.posterior, step.others), (source, others)), strict=True)]
        return Labels(sum(weight * posterior for weight, posterior, _ in parts), parts, end.annotators)

    def evidence_for(self, h=None):
        """(float (N, C), Solution) by which copies are found: log P(class) of each item before any label, and a single
        step from h, or the end of EM without one."""
        if h is not None:
            return log(h), self.step_from(h)
        end = self.alone.end
        return np.broadcast_to(log(end.posterior.mean(0)), (self.items, self.classes)), end

    def confusion(self, posterior, annotators):
        """float (M, C, C): the annotators' confusion matrices, rows the true class, by a posterior (N, C) and the priors of
        Annotators. An annotator's two components are mixed; without labels it is the prior mean."""
        shape = self.annotators, self.classes, self.classes
        counts = np.zeros(shape)
        counts[self.row_annotator, :, self.row_label] = self.counting @ posterior
        every = np.divmod(np.arange(self.annotators * self.classes), self.classes)
        honest = counts + prior_rows(annotators.alpha, annotators.ability, *every).reshape(shape).transpose(0, 2, 1)
        honest /= honest.sum(2, keepdims=True)
        free = (counts.sum(1) + 1 / self.classes) / (self.number + 1)[:, None]
        return honest + (1 - annotators.honest)[:, None, None] * (free[:, None] - honest)
