"""What can be told of each annotator: who copies whom, how much a label of theirs says, what is odd about them."""
import numpy as np
import torch
from scipy import sparse, special

from common.label_models import FLOOR, shrunk_confusion

REPEATED, ERRORS = .5, 10.  # a copy repeats this share of the errors, beyond chance, of at least so many
USUAL = .25  # the quantile of what pairs repeat that is usual: most of them may be copies
ONE_LABEL = .95  # share of the most common label from which somebody gives one label only
PAIRS = 5e7  # pairs of labels that the search for copies looks at, at the most
SURE = .975  # of the intervals, which are two-sided and of 95 %
RARELY = 4.  # standard errors of what is told by rare classes, whose counts are small and skew
TELLING = .1  # standard error of an annotator's agreement beyond chance, above which labels are too few to tell


def label_counts(crowd):
    """float64 array (M, C): how often each annotator gave each label."""
    cells = crowd.annotators * crowd.classes
    return torch.bincount(crowd.rows, minlength=cells).view(-1, crowd.classes).cpu().double().numpy()


def copies(crowd, belief, suspects=None):
    """int64 (M,): for each annotator the first one who gives the same answers; the annotator itself where nobody does.

    Independent annotators share what is right, not what is wrong: two are the same if each repeats most of the other's
    errors, as belief (N, C) has them, beyond what the confusion matrices foretell, and beyond what a pair usually repeats:
    of errors that are the belief's own everybody repeats many. Who gives one label only is no copy. suspects: int64 (M,),
    who is the same as whom by another belief; it stands where the matrices foretell all errors, and nothing can be told.
    """
    belief, people, classes = belief.cpu(), crowd.annotators, crowd.classes
    item, annotator, label = (tensor.cpu().numpy().astype(np.int64) for tensor in (crowd.item, crowd.annotator, crowd.label))
    wrong = 1 - belief.numpy()[item, label].astype(np.float64)
    given = label_counts(crowd)
    telling = (np.bincount(annotator, wrong, people) >= ERRORS) & (given.max(1) <= ONE_LABEL * given.sum(1))
    kept = telling[annotator]
    pairs = (crowd.counts.cpu().double() ** 2).sum().item()
    if pairs > PAIRS:  # a random part of the items shows copies as well
        kept &= (np.random.RandomState(0).random_sample(len(belief)) < PAIRS / pairs)[item]
    item, annotator, label, wrong = item[kept], annotator[kept], label[kept], wrong[kept]

    def shared(columns, count):
        """(M, M): the errors of one annotator in the columns where the other has a label too."""
        theirs, ones = (sparse.csr_matrix((values, (annotator, columns)), (people, count))
                        for values in (wrong, np.ones(len(wrong))))
        return (theirs @ ones.T).tocsr()
    met = shared(item, len(belief)).tocoo()
    enough = (met.row != met.col) & (met.data >= ERRORS)
    first, second, total = met.row[enough], met.col[enough], met.data[enough]
    if not len(first):
        return torch.arange(people, device=crowd.label.device)
    both = np.asarray(shared(item * classes + label, len(belief) * classes)[first, second]).ravel()
    # what independent annotators would repeat: the other's matrix, weighed with the errors of the one
    kinds = (crowd.count_confusion(belief.to(crowd.label.device)).cpu() * (1 - torch.eye(classes))).flatten(1)
    kinds = (kinds / kinds.sum(1, keepdim=True).clamp(min=FLOOR)).numpy()
    # of one prior for all classes: else what copies repeat, in a class, is taken for what everybody says of it
    confusion = shrunk_confusion(crowd, belief.to(crowd.label.device), by_class=False).cpu().flatten(1).numpy()
    chance = total * np.einsum("pk,pk->p", kinds[first], confusion[second])
    share = (both - chance) / np.maximum(total - chance, FLOOR)
    usual = np.quantile(share, USUAL).clip(0) if len(share) > 2 else 0.  # both ways: one pair tells nothing of others
    expected = chance + usual * (total - chance)
    surely = both - expected > np.sqrt(2 * np.log(len(share)) * np.maximum(expected * (1 - expected / total), 1))
    same = surely & (share > usual + REPEATED * (1 - usual))
    if suspects is not None:
        leader = suspects.cpu().numpy()
        same |= (leader[first] == leader[second]) & (total - chance < ERRORS)
    link = sparse.csr_matrix((np.ones(same.sum()), (first[same], second[same])), (people, people))
    return _leaders(link.multiply(link.T)).to(crowd.label.device)


def merge(*found):
    """int64 (M,): as `copies` gives it, of all who are the same by any of several such."""
    everybody = np.arange(len(found[0]))
    link = sum(sparse.csr_matrix((np.ones(len(everybody)), (everybody, same_as.cpu().numpy())), (len(everybody),) * 2)
               for same_as in found)
    return _leaders(link).to(found[0].device)


def _leaders(link):
    """int64 (M,): the first of those whom the links (M, M) join."""
    _, group = sparse.csgraph.connected_components(link, directed=False)
    leader = np.full(group.max() + 1, len(group))
    np.minimum.at(leader, group, np.arange(len(group)))
    return torch.from_numpy(leader[group])


def information(confusion, prior):
    """(M,): the mutual information of the true class and a label in bits. confusion: (M, C, C); prior: (C,)."""
    joint = prior[:, None] * confusion
    product = prior[:, None] * joint.sum(1, keepdim=True)
    return torch.where(joint > 0, joint * torch.log2(joint.clamp(min=1e-30) / product.clamp(min=1e-30)), 0).sum((1, 2))


def interval(accuracy, count):
    """(low, high): the 95 % interval of an accuracy (M,) that rests on `count` (M,) labels, by Jeffreys' prior; NaN where
    the accuracy is."""
    right, wrong = accuracy * count + .5, (1 - accuracy) * count + .5
    return special.betaincinv(right, wrong, 1 - SURE), special.betaincinv(right, wrong, SURE)


def flags(crowd, apart, same_as, names):
    """A list (M,) of what is odd about each annotator, "" for nothing: no labels, one label only (where the items are of
    other classes too), copies NAME, adversary (agrees less than chance), spammer (no more than chance), too few labels to
    tell.

    apart: (L, C), what is believed of each label's item without the label itself; same_as: int64 (M,); names: M.
    """
    annotator = crowd.annotator.cpu().numpy().astype(np.int64)
    given = label_counts(crowd)
    count, most = given.sum(1), given.max(1)
    apart = apart.cpu().double().numpy()
    label = crowd.label.cpu().numpy()
    right = np.bincount(annotator, apart[np.arange(len(annotator)), label], crowd.annotators)
    n = np.maximum(count, 1)
    # chance: as often as the annotator's own labels and the classes of the same items fall together
    classes = np.stack([np.bincount(annotator, column, crowd.annotators) for column in apart.T], 1) / n[:, None]
    chance = (given / n[:, None] * classes).sum(1)
    beyond = (right / n - chance) / np.maximum(1 - chance, FLOOR)

    def error(chance):
        return np.sqrt((chance * (1 - chance)).clip(FLOOR) / n) / np.maximum(1 - chance, FLOOR)
    z = beyond / error(chance)
    few = error(np.maximum(chance, 1 / crowd.classes)) >= TELLING  # a label or two may leave no room for chance
    # where a class is rare little lies beyond chance; there a label that is right weighs as much as its class is rare
    share = (classes[annotator, label] + 1 / n[annotator]).clip(max=1)
    rare = np.bincount(annotator, apart[np.arange(len(annotator)), label] / share - 1, crowd.annotators)
    rare /= np.sqrt(np.bincount(annotator, 1 / share - 1, crowd.annotators).clip(FLOOR))
    others = count * (1 - classes[np.arange(len(n)), given.argmax(1)])  # items that are not of the most common label
    found = []
    for m, leader in enumerate(same_as.tolist()):
        if count[m] == 0:
            found.append("no labels")
        elif most[m] > ONE_LABEL * count[m] and count[m] >= ERRORS and count[m] - most[m] < others[m] / 2:
            found.append("one label only")
        elif leader != m:
            found.append(f"copies {names[leader]}")
        elif rare[m] > RARELY:
            found.append("")
        elif z[m] < -3:
            found.append("adversary")
        elif z[m] < 2:
            found.append("too few labels to tell" if few[m] else "spammer")
        else:
            found.append("")
    return found
