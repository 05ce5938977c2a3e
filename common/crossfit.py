"""What predictions are worth, and which labels to believe, found out without the truth: by labels they have not seen.

A classifier that was not trained on an item's labels is judged by how well it foretells them, and joined with them. All
that is estimated on the way (annotators' matrices, how sure the classifier may be of itself, how far the labels of one
item repeat one another) is estimated on other items' labels than it is used for.
"""
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from common.annotators import copies, merge
from common.crowd import pinned, vote_shares
from common.label_models import FLOOR, PRIORS, Tally, in_order, log, normalise, one_coin, sums

POWERS = (.35, .5, .7, 1., 1.4, 2., 2.8, 4.)  # of h: below 1 it is less sure of itself
EXPONENTS = (0., .1, .2, .3, .4, .5, .6, .7, .8, .9, 1.)  # of the labels' evidence: 1 if they err independently
MIDDLE = .3  # the exponent of labels of which nothing tells how far they repeat one another
RATES = (.1, .2, .3, .4, .5, .6, .7, .8, .9, .95)  # with which copies repeat a label
JUDGING, JOINING = 2, 10  # steps of EM, to rank epochs and to make labels, at the most
BLOCK = 1 << 16  # labels that are looked at together
SURE, SURE_OF_COPIES = 2., 2.5  # standard errors: of copies more, since the suspects and the rate were chosen by the labels
TIE = 1e-3  # nats an item, by less than which neither of two beliefs is likelier
TOLERANCE = 1e-3  # of a belief, whose change by less ends EM


@dataclass(frozen=True)
class Judged:
    """h: float32 (N, C), the calibrated predictions; losses: (L',), -log of what h gave each judged label."""
    h: torch.Tensor
    losses: torch.Tensor

    @property
    def score(self):
        """The crowd score in nats: the mean over the judged labels (i, m, l) of log sum_c h(x_i)_c pi^m[c, l]."""
        return -self.losses.mean().item()


@dataclass(frozen=True)
class Joined:
    """belief: float32 (N, C), what a classifier and the labels say together; apart: (L, C), the same for each label
    without itself and its copies; same_as: int64 (M,), see annotators.copies; exponent: of the labels' evidence."""
    belief: torch.Tensor
    apart: torch.Tensor
    same_as: torch.Tensor
    exponent: float


@dataclass(frozen=True, eq=False)
class End:
    """Where EM ends: h (N, C), calibrated; rows: (L, C), pi^m[:, l] of each label; losses: (L',), -log of what h and the
    others of its item gave each judged label; and what follows."""
    h: torch.Tensor
    rows: torch.Tensor
    losses: torch.Tensor
    joined: Joined


def exchanged(belief, other):
    """Whether two beliefs (N, C) mean the same classes under other names: they go together best when classes change
    places, and most of each such class is the other's."""
    classes = belief.shape[1]
    cells = belief.argmax(1) * classes + other.argmax(1)
    table = torch.bincount(cells, minlength=classes ** 2).view(classes, classes).cpu().numpy()
    place = linear_sum_assignment(-table)[1]
    moved = np.flatnonzero(place != np.arange(len(place)))
    return len(moved) > 0 and bool((table[moved, place[moved]] > table[moved].sum(1) / 2).all())


class Judge:
    """Judges predictions by labels that they have not seen, and joins them with those labels.

    crowd: CrowdLabels of N items; part: int64 (N,), the part of the cross-fit that an item belongs to: its prediction
    comes from a model that has seen no label of that part. -1: the item was trained on; it counts but does not judge.
    gold: int64 (N,), the labels that are known, -1 for the others; or None.
    """

    def __init__(self, crowd, part, gold=None):
        self.crowd, self.part, self.gold = crowd, part, gold
        self.item, self.tally = crowd.item, Tally(crowd, part)
        self.judged = torch.nonzero(part[self.item] >= 0)[:, 0]
        self.blocks = self.judged.split(BLOCK)
        if len(self.judged) == len(self.item):  # slices are no copies
            self.blocks = [slice(start, start + BLOCK) for start in range(0, len(self.item), BLOCK)]

    @cached_property
    def one_coin(self):
        return one_coin(self.crowd)

    @cached_property
    def votes(self):
        """(N, C): the shares of an item's labels; what the one-coin model says of an item without."""
        return torch.where((self.crowd.counts > 0)[:, None], vote_shares(self.crowd), self.one_coin)

    def _losses(self, h, rows, others=None, exponent=1.):
        """(L',): -log sum_c h(x_i)_c pi^m[c, l] of each judged label, h joined with the others of its item where their
        evidence (L, C) is given; rows: (L, C). A block after the other, which stays in the processor's cache."""
        log_h = None if others is None else log(h)
        losses = []
        for block in self.blocks:
            theirs = h.index_select(0, self.item[block]) if others is None else self._apart(log_h, others, exponent, block)
            losses.append(-log(theirs.mul_(rows[block]).sum(1)))
        return torch.cat(losses)

    def _apart(self, log_h, others, exponent, block=slice(None)):
        """(K, C): what h and the others of its item say of each of the block's labels; others: (L, C), see _others."""
        return normalise(log_h.index_select(0, self.item[block]).add_(others[block], alpha=exponent))

    def _evidence(self, terms):
        """(N, C): for each item the sum of its labels' terms (L, C), log pi^m[c, y^m] by the weight of each."""
        return sums(terms, torch.arange(len(terms), device=terms.device), self.crowd.offsets)

    def _groups(self, same_as):
        """(int64 (L,), float32 (L,), their order): of each label the group of labels that the same person gave the item, and
        one over its size. same_as: int64 (M,)."""
        key = self.item * self.crowd.annotators + same_as[self.crowd.annotator.long()]
        _, group, size = torch.unique(key, return_inverse=True, return_counts=True)
        return group, 1. / size[group], in_order(group, len(size))

    def _others(self, rows, groups):
        """(L, C): the evidence of the other labels of each label's item; groups: see _groups."""
        group, weight, order = groups
        terms = log(rows).mul_(weight[:, None])
        return self._evidence(terms).index_select(0, self.item).sub_(sums(terms, *order).index_select(0, group))

    def _fit(self, h, steps, belief=None, groups=None):
        """EM: (Judged, pi^m[:, l] of each label (L, C), belief (N, C)).

        In turn the matrices are counted from the belief, h itself at the start unless another (N, C) is given, on other
        parts' items, and shrunk; h is raised to the power by which it foretells the judged labels best; and the belief is
        their joint posterior. What the matrices are shrunk to, and how far, is what foretells the labels best at the first
        step: later the belief, on all parts, follows from these very labels, and little shrinkage seems to do. groups: see
        _groups; the labels are foretold by h and the others of their item. None: by h alone, and every label is evidence.
        """
        log_h, tally = log(h), self.tally
        h = normalise(log(h))
        belief = pinned(h if belief is None else belief, self.gold)
        weight = torch.ones(len(self.item), device=h.device) if groups is None else groups[1]

        def loss(rows):
            return self._losses(h, rows, None if groups is None else self._others(rows, groups)).mean().item()
        prior = None
        for _ in range(steps):
            counted = tally.count(belief)
            prior = prior or min(PRIORS, key=lambda prior: loss(counted.shrunk(*prior).index_select(0, tally.row)))
            rows = counted.shrunk(*prior).index_select(0, tally.row)
            powers = [normalise(power * log_h) for power in POWERS]
            h = min(powers, key=lambda candidate: self._losses(candidate, rows).mean().item())
            evidence = self._evidence(log(rows).mul_(weight[:, None]))
            before, belief = belief, pinned(normalise(log(h) + evidence), self.gold)
            if (belief - before).abs().max() < TOLERANCE:
                break
        return Judged(h, self._losses(h, rows)), rows, belief

    def _surely(self, gains, errors=SURE):
        """Whether the gain of the items that judge, (N,), is above zero by that many standard errors."""
        gains = gains[self.crowd.counts.bool() & (self.part >= 0)]
        return bool(gains.mean() > errors * gains.std() / len(gains) ** .5)

    def _by_item(self, losses):
        """(N,): the sums of the judged labels' losses (L',), since an item's labels are no independent evidence."""
        return torch.zeros(len(self.part), device=losses.device).index_add_(0, self.item[self.judged], losses)

    def judge(self, h):
        """Judged: predictions h (N, C) for the training items, each by a model that has not seen the item's labels."""
        return self._fit(h, JUDGING)[0]

    def join(self, h):
        """(Judged, Joined): h (N, C), calibrated, with the items' labels: q_i(c) is proportional to
        h(x_i)_c (prod_m pi^m[c, y_i^m])^b.

        EM starts from h, from the one-coin model and from the votes, and by its ends h and an item's other labels, those of
        anybody left aside who may be a copy of the same person, foretell a label. Copies count once, in their mean. b in
        [0, 1] is the one that foretells best: matrices are too sure where the labels of an item err together.

        EM may end with the names of classes exchanged, which foretells as well: of the ends that foretell not surely worse
        than the best, and those that are the best under other names, that one counts in which most labels say the class.
        """
        joined = self._end(h).joined
        return self._fit(h, 1, joined.belief)[0], joined

    def _ends(self, h, same_as):
        """[End] of EM from h, from the one-coin model and from the votes; those of same_as (int64 (M,)) count once."""
        groups = self._groups(same_as)
        return [self._temper(*self._fit(h, JOINING, start, groups)[:2], same_as, groups)
                for start in (None, self.one_coin, self.votes)]

    def _which(self, ends):
        """The one of some Ends that counts, see join."""
        best = min(ends, key=lambda end: end.losses.mean().item())
        rivals = [end for end in ends if not self._surely(self._by_item(end.losses - best.losses))
                  or exchanged(best.joined.belief, end.joined.belief)]
        said = self.item, self.crowd.label.long()
        return max(rivals, key=lambda end: end.joined.belief[said].sum().item())

    def _end(self, h):
        """The End of EM that counts, with copies counted once.

        Many copies sway the belief, but not an h that has not seen them; by a poor h those who are right repeat one another
        too. So those who do by either are suspected, and counted once. The labels are surely likelier, where there are
        copies, if with some probability a suspect repeats one of the others, by the belief with everybody counted or by that
        with the suspects counted once, from the same start; and copies are those who are by the second way to count, unless
        the first is surely likelier: where somebody and a copy make the belief alone, there is a tie.
        """
        everybody = torch.arange(self.crowd.annotators, device=h.device)
        ends = self._ends(h, everybody)
        end = self._which(ends)
        suspects = merge(copies(self.crowd, self.judge(h).h), copies(self.crowd, end.joined.belief))
        if (suspects == everybody).all():
            return end
        once, share = self._ends(h, suspects), self._repeated(suspects)
        alone, copied = (max((self._likelihood(world, share, rate) for rate in RATES), key=torch.mean)
                         for world in (end, once[ends.index(end)]))
        swayed = not self._surely(alone - copied - TIE, SURE_OF_COPIES)
        if not self._surely((copied if swayed else alone) - self._likelihood(end, share, 0), SURE_OF_COPIES):
            return end
        end_once = self._which(once)
        same_as = copies(self.crowd, (end_once if swayed else end).joined.belief, suspects)
        return end_once if (same_as == suspects).all() else self._which(self._ends(h, same_as))

    def _repeated(self, same_as):
        """(L,): of each label the share of the group's earlier labels of the item that are the same; NaN for the first."""
        group = self._groups(same_as)[0]

        def earlier(key):
            """int64 (L,): how many labels with the same key come before each."""
            order, bounds = in_order(key, int(key.max()) + 1)
            return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=key.device)) - bounds[key]
        return earlier(group * self.crowd.classes + self.crowd.label) / earlier(group)

    def _likelihood(self, end, share, rate):
        """(N,): log of what h and the matrices of an End give all labels of an item, if one that is not its group's first is
        with probability `rate` that of one of the group before it. share: see _repeated."""
        rows = torch.where(share.isnan()[:, None], end.rows, torch.lerp(end.rows, share[:, None], rate))
        return torch.logsumexp(log(end.h) + self._evidence(log(rows)), 1)

    def _temper(self, judged, rows, same_as, groups):
        """End: h and the evidence to the power b by which h and the others of their item foretell the judged labels best."""
        others = self._others(rows, groups)
        losses = {b: self._losses(judged.h, rows, others, b) for b in EXPONENTS}
        # where no item has a second label all foretell as well, and it is what they mostly are elsewhere
        exponent = min(EXPONENTS, key=lambda b: (round(losses[b].mean().item(), 6), abs(b - MIDDLE)))
        evidence = self._evidence(log(rows).mul_(groups[1][:, None]))
        belief = pinned(normalise(log(judged.h) + exponent * evidence), self.gold)
        gold = None if self.gold is None else self.gold[self.item]
        apart = pinned(self._apart(log(judged.h), others, exponent), gold)
        return End(judged.h, rows, losses[exponent], Joined(belief, apart, same_as, exponent))

    def consensus(self, judged):
        """(float32 (N, C), {name: share}): in each part the mean of the predictions that are within one standard error of
        the part's best by loss; and each one's share in it, the mean over the parts. judged: {name: Judged}."""
        names = list(judged)
        h = torch.stack([judged[name].h for name in names])
        losses = torch.stack([judged[name].losses for name in names])
        place = self.part[self.item[self.judged]]
        chosen = torch.zeros(len(names), self.tally.parts + 1, device=h.device)
        for part in range(self.tally.parts + 1):  # the last: all together, for the items that were trained on
            theirs = losses if part == self.tally.parts else losses[:, place == part]
            if theirs.shape[1] < 2:
                theirs = losses
            gap = theirs - theirs[theirs.mean(1).argmin()]
            chosen[:, part] = gap.mean(1) <= gap.std(1) / theirs.shape[1] ** .5 + FLOOR
        chosen /= chosen.sum(0)
        shares = chosen[:, :self.tally.parts].mean(1).tolist()
        return (torch.einsum("knc,kn->nc", h, chosen[:, self.part]),  # part -1 is the last
                {name: share for name, share in zip(names, shares, strict=True) if share})
