"""Who copies whom.

Independent annotators share what is right; copies share errors too (Dong, Berti-Equille & Srivastava, VLDB 2009). An error
is a label that the other annotators' posterior calls wrong. The labels of the pair and of their twins, who answer nearly as
one of them does, are left out of it. By chance an annotator repeats a label of the other's as often as the annotator gives
it at all, so favourite labels are no evidence. A pair are copies if

- they agree on seven tenths of their items in common, beyond what the other annotators of these items say,
- they share at least SHARED errors, and
- one of them repeats most of the other's errors beyond chance (95 % sure, normal approximation).
"""
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.stats import norm

from common.crowd.agreement import common_labels, items_in_common, label_table, some_items
from common.crowd.bayes import LabelModel
from common.crowd.tempering import softmax

SHARED = 20  # errors in common, and items, from which a pair is looked at
WRONG = .8  # the probability from which a label counts as an error, by its probability
MOST = .5  # the share of the other's errors beyond chance that one of a pair repeats
ALIKE = .7  # the share of equal labels beyond chance that copies have
TWINS = .85  # the same of annotators who do not decide on errors of one another
Z = norm.ppf(.975)
EXAMINED = 1e6  # pairs of labels of an item that are looked at for the candidates, at most


@dataclass(frozen=True)
class Copies:
    """Pairs of annotators (first, second: int (P,)), their number of items in common, of shared errors, and of shared errors
    that independent annotators have; representative: int (M,), the first annotator of each one's cluster of copies."""
    first: np.ndarray
    second: np.ndarray
    common: np.ndarray
    shared: np.ndarray
    expected: np.ndarray
    representative: np.ndarray


def find_copies(model, h=None):
    """The Copies among the annotators of a LabelModel. h: (N, C), a classifier's calibrated predictions, as in
    LabelModel.labels, or None."""
    count = model.votes.sum(1)
    witnessed = count[model.item] >= 3  # somebody else has labelled the item
    witnessed &= some_items(model.item, np.where(count >= 3, count, 0))  # some of the items show copies as well
    first, second, rate = _alike(model, count, witnessed)
    if not len(first):
        nobody = np.zeros(0, np.int64)
        return Copies(nobody, nobody, nobody, nobody, nobody, np.arange(model.annotators))
    table = label_table(model.annotator, model.item, witnessed, model.annotators, model.items)
    both, one, other = common_labels(table[first], table[second])
    common = np.diff(both.indptr)
    kept = common.cumsum() <= max(EXAMINED, common[0])
    twins = first[rate > TWINS], second[rate > TWINS]
    first, second, common = first[kept], second[kept], common[kept]
    pair = np.repeat(np.arange(len(first)), common)
    one, other = one[:len(pair)], other[:len(pair)]
    posterior = _by_others(model, h, table, both, first, second, one, other, twins)

    surely, chances = [], []
    for label, by in ((one, other), (other, one)):
        errors, shared, expected, variance = _repeated(model, posterior, pair, label, by, len(first))
        deviation = np.sqrt(np.maximum(variance, 1e-12))
        surely.append((shared - expected - Z * deviation) / np.maximum(errors - expected, 1e-12))
        chances.append(expected)
    found = (shared >= SHARED) & (np.maximum(*surely) > MOST)
    first, second, common, shared, expected = (a[found] for a in (first, second, common, shared, np.mean(chances, 0)))
    return Copies(first, second, common, shared, expected, _clusters(first, second, model.annotators)[1])


def _by_others(model, h, table, both, first, second, one, other, twins):
    """float (K, C): the posterior of the item of each pair of labels `one` and `other`, int (K,), without these and without
    those of twins. both: the places of the pairs' labels, (P, N); twins: the pairs of annotators who answer nearly alike."""
    link, near = _clusters(*twins, model.annotators)
    # nearly equal annotators count once here: the labels would follow many copies. Without any the model is fitted already
    once = model if not link.nnz else LabelModel(model.crowd, model.gold, clusters=near)
    log_prior, solution = once.evidence_for(h)
    item, rows = model.item[one], solution.exponent * solution.rows
    evidence = (model.bags @ rows)[item] - rows[model.row[one]] - rows[model.row[other]]
    place, twin = _twins(both[:len(first)], table, link, first, second)
    np.subtract.at(evidence, place, rows[model.row[twin]])
    return softmax(evidence + log_prior[item])


def _repeated(model, posterior, pair, label, by, pairs):
    """(errors of `label`'s annotators, those that are shared, those expected, the variance of these), each (pairs,). label,
    by: int (K,), the labels of the one and the other of each `pair`, int (K,); posterior: (K, C), of their items."""
    usual = (model.given + 1 / model.classes) / (model.number + 1)[:, None]
    given = model.label[label]
    same, chance = given == model.label[by], usual[model.annotator[by], given]
    wrong = 1 - posterior[np.arange(len(given)), given]
    wrong *= wrong > WRONG
    return (np.bincount(pair, wrong * weight, pairs) for weight in (1, same, chance, chance * (1 - chance)))


def _clusters(first, second, annotators):
    """(sparse (M, M), int (M,)): who is linked to whom by pairs of annotators, and the first of those connected to each."""
    link = sparse.csr_matrix((np.ones(len(first)), (first, second)), (annotators, annotators))
    link = link + link.T
    _, cluster = sparse.csgraph.connected_components(link, directed=False)
    _, representative = np.unique(cluster, return_index=True)
    return link, representative[cluster]


def _alike(model, count, witnessed):
    """(first, second, rate): the pairs who are ALIKE, the most alike first, (P,) each. Chance is what the other annotators
    say. count: (N,), the items' labels; witnessed: bool (L,), which labels count."""
    who, item, label = model.annotator[witnessed], model.item[witnessed], model.label[witnessed]
    met, first, second, common = items_in_common(who, item, (model.annotators, model.items))
    enough = common >= SHARED
    first, second, common = first[enough], second[enough], common[enough]
    if not len(first):
        return first, second, np.zeros(0)
    others = sparse.csr_matrix(((model.votes[item, label] - 1) / (count[item] - 1), (who, item)), met.shape)
    given = sparse.csr_matrix((np.ones(len(who), np.float32), (who, item * model.classes + label)),
                              (model.annotators, model.items * model.classes))

    def of_pairs(product):
        return np.asarray(product.tocsr()[first, second]).ravel()
    chance = np.minimum(of_pairs(others @ met.T), of_pairs(met @ others.T))
    rate = (of_pairs(given @ given.T) - chance) / np.maximum(common - chance, 1e-12)
    order = np.argsort(-rate, kind="stable")
    order = order[rate[order] > ALIKE]
    return first[order], second[order], rate[order]


def _twins(both, table, link, first, second):
    """(place, label), int (K,) each: the labels of those who are linked to one of a pair, where both of the pair have
    labelled the item, and the item's place among those of all pairs."""
    near = (link[first] + link[second]).tocoo()
    kept = (near.col != first[near.row]) & (near.col != second[near.row])
    pair, twin = near.row[kept], near.col[kept]
    places = sparse.csr_matrix((np.arange(both.nnz) + 1, both.indices, both.indptr), both.shape)
    _, place, label = common_labels(places[pair], table[twin])
    return place, label
