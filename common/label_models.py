"""Labels from the crowd's labels alone: Dawid-Skene and one-coin; confusion matrices shrunk by what they rest on."""
import math
from functools import cached_property

import torch
from torch.nn import functional

from common.crowd import CrowdLabels, confusion_from, vote_shares

FLOOR = 1e-6  # of a probability, where its logarithm is taken
ROUNDS, TOLERANCE = 100, 1e-4  # of EM: at the most, and the largest change of a posterior that ends it
RARE_HABIT = 3.  # log-odds against an annotator's answering by habit, before any label is seen: one in twenty
STRENGTHS = (2., 8., 32., 128., 512.)  # pseudo-counts by which a row of a confusion matrix is held to its prior mean
PRIORS = [(mean, strength) for mean in range(3) for strength in STRENGTHS]  # mean: which of Counted.means


def log(p):
    return p.clamp(min=FLOOR).log_()


def normalise(evidence):
    """softmax over the last axis, in place; what float32 would hold as a denormal number, fifteen times as slow to come by,
    is e^-80."""
    evidence = evidence.sub_(evidence.amax(-1, keepdim=True)).clamp_(min=-80).exp_()
    return evidence.div_(evidence.sum(-1, keepdim=True))


def sums(table, order, bounds, weights=None):
    """The sums of the table's rows order[bounds[k]:bounds[k + 1]], for each k: the same on every run, on a GPU too."""
    return functional.embedding_bag(order, table, bounds, mode="sum", include_last_offset=True, per_sample_weights=weights)


def in_order(keys, count):
    """(order, bounds) for `sums` by keys, int64 from 0 to count - 1."""
    ordered, order = torch.sort(keys, stable=True)
    return order, torch.searchsorted(ordered, torch.arange(count + 1, device=keys.device))


def _em(crowd, evidence, rounds, tolerance):
    """float32 (N, C): the posterior of EM on the labels alone, from the shares of the votes until no probability changes by
    more than `tolerance`, `rounds` at the most; an item without labels gets the class prior. evidence: of a belief (N, C),
    zeros for items without labels, the function to sum_m log pi^m[c, y_i^m] by the matrices counted from it; a number may be
    added to each of its rows."""
    seen = (crowd.counts > 0)[:, None]
    belief = vote_shares(crowd)
    for _ in range(rounds):
        prior = belief.sum(0) / seen.sum().clamp(min=1)
        posterior = normalise(evidence(belief).add_(log(prior))).mul_(seen)
        change = belief.sub_(posterior).abs_().max() if len(belief) else 0
        belief = posterior
        if change < tolerance:
            break
    return torch.where(seen, belief, belief.sum(0) / seen.sum().clamp(min=1))


def dawid_skene(crowd, rounds=ROUNDS, tolerance=TOLERANCE):
    """float32 (N, C): the posterior of Dawid & Skene (1979), with a confusion matrix for each annotator.

    q_i(c) is proportional to p_c prod_m pi^m[c, y_i^m]; pi^m and p are counted from q over the items m labelled.
    """
    def evidence(belief):
        table = log(confusion_from(crowd, belief)).transpose(1, 2).reshape(-1, crowd.classes)
        return crowd.evidence(table.contiguous())
    return _em(crowd, evidence, rounds, tolerance)


def one_coin(crowd, rounds=ROUNDS, tolerance=TOLERANCE):
    """float32 (N, C): the same where an annotator has one accuracy a_m and errs evenly: pi^m[c, l] is a_m for l = c,
    (1 - a_m) / (C - 1) elsewhere."""
    who, label, items = crowd.annotator.long(), crowd.label.long(), crowd.item
    labels = torch.bincount(who, minlength=crowd.annotators).clamp(min=1)
    cells = items * crowd.classes + label

    def evidence(belief):
        right = belief.new_zeros(crowd.annotators).index_add_(0, who, belief[items, label])
        accuracy = right / labels
        weight = log(accuracy) - log((1 - accuracy) / max(crowd.classes - 1, 1))
        return belief.new_zeros(belief.numel()).index_add_(0, cells, weight[who]).view_as(belief)
    return _em(crowd, evidence, rounds, tolerance)


class Tally:
    """Counts annotators' matrices, those of each part on the items of all others: sparse, a row for each part, annotator
    and label that go together, U in all. A part's annotators are told apart from the others': G = (P + 1) M, the last M
    those of the items without a part, for which all items count.

    crowd: CrowdLabels of N items; part: int64 (N,), 0 to P - 1 or -1; None: no item has one.
    """

    def __init__(self, crowd, part=None):
        device, people, self.classes = crowd.label.device, crowd.annotators, crowd.classes
        part = torch.full((len(crowd),), -1, device=device) if part is None else part
        self.parts, self.people = int(part.max()) + 1 if len(part) else 0, people
        place = torch.where(part >= 0, part, self.parts)
        self.own = CrowdLabels(place[crowd.item].int() * people + crowd.annotator, crowd.label, crowd.offsets,
                               (self.parts + 1) * people, self.classes)
        self.rows, self.row, _ = self.own.by_rows  # each row's number, and the row of each label
        self.who, self.label = self.rows // self.classes, self.rows % self.classes
        self.apart = (self.who < self.parts * people)[:, None]  # rows whose own counts do not count
        self.by_who = in_order(self.who, self.own.annotators)
        cells, self.cell = torch.unique(self.rows % (people * self.classes), return_inverse=True)
        self.by_cell = in_order(self.cell, len(cells))
        self.cell_who = cells // self.classes
        self.cells_by_label = in_order(cells % self.classes, self.classes)
        self.by_part_and_label = in_order(self.who // people * self.classes + self.label, (self.parts + 1) * self.classes)

    def others(self, own):
        """What all other parts have of `own` ((P + 1) * K, ...), that each part has."""
        own = own.view(self.parts + 1, -1, *own.shape[1:])
        total = own.sum(0)
        return torch.cat([total - own[:-1], total[None]]).flatten(0, 1)

    def count(self, belief):
        """The Counted of belief (N, C)."""
        return Counted(self, self.own.count_rows(belief))


class Counted:
    """The counts of a Tally, and three candidates for what an annotator's matrix is shrunk to: the annotator's own accuracy
    with even errors, or with everybody's errors; and everybody's matrix. Who answers by a habit of their own, whatever the
    class, where that is likelier than one accuracy and even errors, has the habit in all three, and no part in everybody's.

    counts: (U, C), of each row of the Tally, by the true class; total: (G, C), of all labels of an annotator.
    """

    def __init__(self, tally, own):
        """own: (U, C), what is counted in the row's own part."""
        self.tally, classes = tally, tally.classes
        whole = sums(own, *tally.by_cell)
        self.counts = whole[tally.cell] - torch.where(tally.apart, own, 0)
        self.total = tally.others(sums(own, *tally.by_who))

        def by_label(values):
            """(G, C): a number of each row (U,), by label."""
            cells = values.new_zeros(tally.own.annotators * classes).index_copy_(0, tally.rows, values)
            return tally.others(cells.view(-1, classes))
        labels = by_label(own.sum(1))
        right = by_label(own.gather(1, tally.label[:, None])[:, 0]).sum(1)
        number = labels.sum(1)
        self.habit = (labels + 1 / classes) / (number + 1)[:, None]
        k, n, r = labels.double(), number.double(), right.double()
        # the evidence for a habit, Dirichlet(1 / C), and for a coin, Beta(1, 1), without what is as likely under both
        habit = (torch.lgamma(k + 1 / classes) - math.lgamma(1 / classes)).sum(1) - torch.lgamma(n + 1)
        wrong = (n - r).clamp(min=0)
        coin = torch.lgamma(r + 1) + torch.lgamma(wrong + 1) - torch.lgamma(n + 2) - wrong * math.log(max(classes - 1, 1))
        self.by_habit = habit > coin + RARE_HABIT
        pooled = self._pooled(whole, own)
        identity = torch.eye(classes, device=own.device)
        errors = pooled * (1 - identity)
        self.everybody, self.errors = pooled / pooled.sum(1, keepdim=True), errors / errors.sum(1, keepdim=True)
        overall = (pooled * identity).sum((1, 2)) / pooled.sum((1, 2))
        self.accuracy = (right + 4 * overall.repeat_interleave(tally.people)) / (number + 4)

    def _pooled(self, whole, own):
        """(P + 1, C, C): the counts of all annotators without a habit, rows the label, and a little."""
        tally, keep = self.tally, (~self.by_habit).to(own.dtype)
        order, bounds = tally.cells_by_label
        everybody = torch.stack([sums(whole, order, bounds, one[tally.cell_who[order]])
                                 for one in keep.view(-1, tally.people)])
        order, bounds = tally.by_part_and_label
        apart = sums(own, order, bounds, keep[tally.who[order]]).view_as(everybody)
        return torch.cat([everybody[:-1] - apart[:-1], everybody[-1:]]) + .1

    def means(self, who, label):
        """(3, K, C): pi[:, l] by each candidate, for annotators `who` (int64 (K,), 0 to G - 1) and labels (int64 (K,))."""
        place, accuracy = who // self.tally.people, self.accuracy[who][:, None]
        identity = functional.one_hot(label, self.tally.classes)
        even = (1 - identity) / max(self.tally.classes - 1, 1)
        coins = [accuracy * identity + (1 - accuracy) * errors for errors in (even, self.errors[place, label])]
        habit = self.habit[who, label][:, None]
        return torch.where(self.by_habit[who][:, None], habit, torch.stack([*coins, self.everybody[place, label]]))

    @cached_property
    def prior_means(self):
        """(3, U, C): `means` of the Tally's rows."""
        return self.means(self.tally.who, self.tally.label)

    def shrunk(self, mean, strength):
        """(U, C): pi[:, l] of the Tally's rows, shrunk to one of their prior means."""
        return shrink(self.counts, self.prior_means[mean], self.total[self.tally.who], strength)


def shrink(counts, mean, total, strength):
    """counts with `strength` pseudo-counts of `mean`, over as many in all: rows of matrices that add up to one."""
    return torch.add(counts, mean, alpha=strength).div_(total + strength)


def shrunk_confusion(crowd, belief, by_class=True):
    """(M, C, C): the annotators' matrices counted from belief (N, C). The rows of each true class are shrunk to the prior
    mean and by the strength under which their counts are likeliest (the Dirichlet-multinomial distribution's likelihood): an
    accuracy that common classes fix says little of a rare one. Not by_class: one prior mean and strength for all classes."""
    tally = Tally(crowd)
    counted = tally.count(belief)

    def likelihood(k, strength):
        a = strength * counted.prior_means[k].clamp(min=FLOOR)
        rows = torch.lgamma(a + counted.counts) - torch.lgamma(a)
        return rows.double().sum(0) - (torch.lgamma(counted.total.double() + strength) - math.lgamma(strength)).sum(0)
    likelihoods = torch.stack([likelihood(*prior) for prior in PRIORS])
    best = likelihoods.argmax(0) if by_class else likelihoods.sum(1).argmax().expand(crowd.classes)
    everything = torch.arange(crowd.annotators * crowd.classes, device=belief.device)
    who, label = everything // crowd.classes, everything % crowd.classes
    counts = torch.zeros(len(everything), crowd.classes, device=belief.device).index_copy_(0, tally.rows, counted.counts)
    means, total = counted.means(who, label), counted.total[who]
    table = torch.stack([shrink(counts[:, c], means[k, :, c], total[:, c], strength)
                         for c, (k, strength) in enumerate(PRIORS[place] for place in best.tolist())], 1)
    return table.view(-1, crowd.classes, crowd.classes).transpose(1, 2)
