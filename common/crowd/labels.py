"""Labels from a crowd: sparse storage, votes and confusion matrices.

Nothing here loops over items or annotators: everything is a gather, a scatter or a bag of table rows.
"""
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional


@dataclass(frozen=True)
class CrowdLabels:
    """The labels that M annotators gave N items over C classes; any label may be missing.

    annotator: int32 (L,), who gave each label; label: int32 (L,), the class they chose;
    offsets: int64 (N + 1,): item i's labels are the entries offsets[i] to offsets[i + 1].
    """
    annotator: torch.Tensor
    label: torch.Tensor
    offsets: torch.Tensor
    annotators: int
    classes: int

    @classmethod
    def from_dense(cls, labels, classes):
        """From an integer array (N, M) with -1 where an annotator gave no label."""
        labels = torch.as_tensor(labels)
        present = labels >= 0
        annotator = torch.arange(labels.shape[1], dtype=torch.int32).expand(labels.shape)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), present.sum(1).cumsum(0)])
        return cls(annotator[present], labels[present].int(), offsets, labels.shape[1], classes)

    @classmethod
    def from_triples(cls, item, annotator, label, items, annotators, classes):
        """From integer arrays (L,): which item, who, and which class, in any order."""
        order = np.argsort(item, kind="stable")
        offsets = np.concatenate([[0], np.bincount(item, minlength=items).cumsum()])
        annotator, label = (torch.from_numpy(np.asarray(array)[order].astype(np.int32)) for array in (annotator, label))
        return cls(annotator, label, torch.from_numpy(offsets), annotators, classes)

    def __len__(self):
        return len(self.offsets) - 1

    @property
    def rows(self):
        """int32 (L,): m * C + l, each label's row in a table with a row for each annotator and label."""
        return self.annotator * self.classes + self.label

    @property
    def counts(self):
        """int64 (N,): how many labels each item has."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def item(self):
        """int64 (L,): the item of each label."""
        index = torch.arange(len(self), device=self.offsets.device)
        return torch.repeat_interleave(index, self.counts, output_size=len(self.label))

    def to(self, device):
        return CrowdLabels(self.annotator.to(device), self.label.to(device), self.offsets.to(device),
                           self.annotators, self.classes)

    def select(self, items):
        """The crowd labels of these items (int64 (K,)), in their order."""
        counts = self.counts[items]
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        total = int(offsets[-1])
        shift = torch.repeat_interleave(self.offsets[items] - offsets[:-1], counts, output_size=total)
        entry = torch.arange(total, device=shift.device) + shift
        return CrowdLabels(self.annotator[entry], self.label[entry], offsets, self.annotators, self.classes)

    def batches(self, size):
        """Views of `size` items in turn, a last short one left out; the device is asked for the bounds only once."""
        bounds = self.offsets[::size].tolist()
        for step in range(len(self) // size):
            start, stop = bounds[step], bounds[step + 1]
            offsets = self.offsets[step * size:(step + 1) * size + 1] - start
            yield CrowdLabels(self.annotator[start:stop], self.label[start:stop], offsets,
                              self.annotators, self.classes)

    def subsample(self, keep, seed):
        """`keep` random labels of each item, all of an item that has no more. seed: as of numpy's RandomState."""
        item = self.item.numpy()
        order = np.lexsort((np.random.RandomState(seed).random_sample(len(item)), item))
        kept = torch.zeros(len(item), dtype=torch.bool)
        kept[order[np.arange(len(item)) - self.offsets.numpy()[item] < keep]] = True
        return self.keep(kept)

    def keep(self, labels):
        """The items with these of the labels (bool (L,)) alone."""
        before = torch.cat([self.offsets.new_zeros(1), labels.cumsum(0)])
        return CrowdLabels(self.annotator[labels], self.label[labels], before[self.offsets], self.annotators, self.classes)

    def repeats(self):
        """bool (L,): whether the annotator has given the item the same label before."""
        key = (self.item * self.annotators + self.annotator) * self.classes + self.label
        ordered, order = torch.sort(key, stable=True)
        repeated = torch.zeros_like(key, dtype=torch.bool)
        repeated[order[1:]] = ordered[1:] == ordered[:-1]
        return repeated

    def triples(self):
        """(item, annotator, label): int64 NumPy arrays (L,)."""
        return tuple(a.cpu().numpy().astype(np.int64) for a in (self.item, self.annotator, self.label))

    def votes(self):
        """float32 (N, C): how many of an item's labels say each class."""
        cells = len(self) * self.classes
        return torch.bincount(self.item * self.classes + self.label, minlength=cells).view(-1, self.classes).float()

    def evidence(self, table):
        """(N, C): for each item the sum of table[m * C + l] over its labels; an item without labels gets zeros.

        table: (M * C, C), a row for each annotator and label, a column for each true class.
        """
        return functional.embedding_bag(self.rows, table, self.offsets.int(), mode="sum", include_last_offset=True)

    def through(self, matrices, h):
        """(L, C): for each label, h of its item times the matrix of its annotator. matrices: (M, C, C) or (M, C * C); h:
        (N, C). The cost is that of the labels, however many annotators there are."""
        own = functional.embedding(self.annotator, matrices.flatten(1)).view(-1, self.classes, self.classes)
        return torch.bmm(h[self.item][:, None], own)[:, 0]

    @cached_property
    def _ordered(self):
        """(int32 (L,), the labels' rows m * C + l in order; int32 (L,), their items in that order)."""
        rows, order = torch.sort(self.rows, stable=True)
        return rows, self.item[order].int()

    @cached_property
    def _bounds(self):
        """int32 (M * C + 1,): where each row m * C + l begins among those in order: with their items the transpose of the
        bags that `evidence` adds up."""
        rows = self._ordered[0]
        bounds = torch.arange(self.annotators * self.classes + 1, device=rows.device, dtype=rows.dtype)
        return torch.searchsorted(rows, bounds).int()

    def count_confusion(self, posterior):
        """(M, C, C): [m, c, l] = sum of posterior[i, c] over the items i that m labelled l. posterior: (N, C)."""
        table = functional.embedding_bag(self._ordered[1], posterior, self._bounds, mode="sum", include_last_offset=True)
        return table.view(-1, self.classes, self.classes).transpose(1, 2)


def vote_shares(crowd):
    """float32 (N, C): Q_i(c), the fraction of item i's labels that say c; zeros for an item without labels."""
    votes = crowd.votes()
    return votes / votes.sum(1, keepdim=True).clamp(min=1)


def class_shares(posterior):
    """(C,): the shares of the classes in a posterior (N, C), with one pseudo-count for each class: none is zero."""
    counts = posterior.sum(0) + 1
    return counts / counts.sum()


def majority_vote(crowd):
    """int64 (N,): each item's most frequent label, ties to the lowest class, -1 for an item without labels."""
    return torch.where(crowd.counts > 0, crowd.votes().argmax(1), -1)


def clamp_to_gold(posterior, gold):
    """The posterior (N, C), certain of the gold labels: gold, int64 (N,), -1 for the others; or None."""
    if gold is None:
        return posterior
    known = functional.one_hot(gold.clamp(min=0), posterior.shape[1]).to(posterior.dtype)
    return torch.where(gold[:, None] >= 0, known, posterior)


def confusion_from(crowd, posterior):
    """(M, C, C): pi^m[c, l], how often annotator m says l where posterior says c; rows add up to one.

    A row without any posterior weight (m labelled no such item) is uniform: it says nothing. posterior: (N, C).
    """
    counts = crowd.count_confusion(posterior)
    total = counts.sum(2, keepdim=True)
    return torch.where(total > 0, counts / total.clamp(min=1e-12), 1 / crowd.classes)


def initial_weights(crowd, posterior, epsilon):
    """(M, C, C): W^m[c, l] = log(eps + sum_i Q_i(c) 1[y_i^m = l] / sum_{i: m labelled i} Q_i(c)); posterior: Q, (N, C).

    An annotator without labels starts at zero: no evidence.
    """
    weights = torch.log(confusion_from(crowd, posterior) + epsilon)
    silent = torch.bincount(crowd.annotator, minlength=crowd.annotators) == 0
    return torch.where(silent[:, None, None], 0, weights)
