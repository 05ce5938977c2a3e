"""How far annotators agree: Krippendorff's alpha, Fleiss' kappa, and Cohen's kappa of pairs."""
from dataclasses import dataclass

import numpy as np
from scipy import sparse

RESAMPLES = 500  # of the items, for the intervals
PAIRS, IN_COMMON = 1_000, 10  # pairs of annotators that are reported at most; items that a pair has in common at least
MEETINGS = 3e6  # pairs of labels of an item: where there are more, some of the items are searched


@dataclass(frozen=True)
class Agreement:
    """A coefficient and its 95 % interval, by a bootstrap over the items; None and None of a single item."""
    value: float
    low: float | None
    high: float | None


def _bootstrap(statistics, coefficient):
    """The Agreement of coefficient(sums), where sums (..., K) are those of the items' statistics (N, K)."""
    random = np.random.default_rng(0)
    n = len(statistics)
    resampled = np.stack([np.bincount(random.integers(n, size=n), minlength=n) @ statistics for _ in range(RESAMPLES)])
    with np.errstate(divide="ignore", invalid="ignore"):
        value, resampled = float(coefficient(statistics.sum(0))), coefficient(resampled)
    resampled = resampled[np.isfinite(resampled)]
    low, high = np.quantile(resampled, (.025, .975)).tolist() if n > 1 and len(resampled) else (None, None)
    return Agreement(value, low, high)


def krippendorff_alpha(votes):
    """Krippendorff's alpha for nominal data (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"), an
    Agreement; None where no item has two labels or all labels are one class. votes: (N, C)."""
    votes = votes[votes.sum(1) >= 2]
    if not len(votes) or (votes.sum(0) > 0).sum() < 2:
        return None
    count = votes.sum(1)
    agreed = (votes * (votes - 1)).sum(1) / (count - 1)

    def alpha(sums):
        agreed, classes = sums[..., 0], sums[..., 1:]
        n = classes.sum(-1)
        return 1 - (n - 1) * (n - agreed) / (n ** 2 - (classes ** 2).sum(-1))
    return _bootstrap(np.column_stack([agreed, votes]), alpha)


def fleiss_kappa(votes):
    """Fleiss' kappa (1971), an Agreement; None unless all items have equally many labels, two at least, of two classes at
    least. votes: (N, C)."""
    count = votes.sum(1)
    if not len(votes) or count.min() < 2 or count.min() < count.max() or (votes.sum(0) > 0).sum() < 2:
        return None
    agreed = (votes * (votes - 1)).sum(1) / (count * (count - 1))

    def kappa(sums):
        share = sums[..., 1:] / sums[..., 1:].sum(-1, keepdims=True)
        chance = (share ** 2).sum(-1)
        return (sums[..., 0] / len(votes) - chance) / (1 - chance)
    return _bootstrap(np.column_stack([agreed, votes]), kappa)


def some_items(item, count):
    """bool (L,): the labels of all items or, where these have many pairs of labels, of some.

    item: int (L,); count: (N,), how many labels of each item count.
    """
    return item % max(1, int(np.ceil((count ** 2).sum() / MEETINGS))) == 0


def items_in_common(annotator, item, shape):
    """(sparse float32 (M, N), first, second, items): who has labelled what, the pairs of annotators with items in common,
    int (P,) each, and how many these are. annotator, item: int (L,); shape: (M, N)."""
    met = sparse.csr_matrix((np.ones(len(item), np.float32), (annotator, item)), shape)
    together = sparse.triu(met @ met.T, 1).tocoo()
    return met, together.row.astype(np.int64), together.col.astype(np.int64), together.data


def label_table(annotator, item, kept, annotators, items):
    """Sparse (M, N): one more than the number of each annotator's (last) label of an item. annotator, item: int (L,);
    kept: bool (L,), the labels that are in it."""
    key = annotator[kept] * items + item[kept]
    _, last = np.unique(key[::-1], return_index=True)  # a repeated answer would add up
    label = np.flatnonzero(kept)[len(key) - 1 - last]
    return sparse.csr_matrix((label + 1, (annotator[label], item[label])), (annotators, items))


def common_labels(one, other):
    """(sparse (P, N), int (K,), int (K,)): the items that two annotators have in common, and the two labels' numbers
    there, pair after pair. one, other: sparse (P, N), rows of label_table."""
    one, other = one.multiply(other.astype(bool)).tocsr(), other.multiply(one.astype(bool)).tocsr()
    one.sort_indices()
    other.sort_indices()
    return one, one.data.astype(np.int64) - 1, other.data.astype(np.int64) - 1


def cohen_kappas(crowd):
    """{"first", "second", "items", "agreement", "kappa"}: arrays (P,), Cohen's kappa (1960) of the pairs of annotators
    with most items in common, these first; NaN where both always give one and the same label."""
    item, annotator, label = crowd.triples()
    shape = crowd.annotators, len(crowd)
    some = some_items(item, np.bincount(item, minlength=len(crowd)).astype(float))
    _, first, second, items = items_in_common(annotator[some], item[some], shape)
    order = np.lexsort((second, first, -items))[:PAIRS]
    first, second = first[order], second[order]
    table = label_table(annotator, item, np.ones(len(item), bool), *shape)
    both, *sides = common_labels(table[first], table[second])
    items = np.diff(both.indptr)
    pair = np.repeat(np.arange(len(first)), items)
    one, other = (label[side] for side in sides)
    given = [np.bincount(pair * crowd.classes + labels, minlength=len(first) * crowd.classes).reshape(-1, crowd.classes)
             for labels in (one, other)]
    with np.errstate(divide="ignore", invalid="ignore"):
        agreed = np.bincount(pair, one == other, len(first)) / items
        chance = (given[0] * given[1]).sum(1) / items.astype(float) ** 2
        kappa = (agreed - chance) / (1 - chance)
    kept = np.flatnonzero(items >= IN_COMMON)
    kept = kept[np.argsort(-items[kept], kind="stable")]
    return {"first": first[kept], "second": second[kept], "items": items[kept], "agreement": agreed[kept],
            "kappa": kappa[kept]}
