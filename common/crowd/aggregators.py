"""Further aggregators of the field, for the labels alone: GLAD, MACE and EBCC. Each returns a posterior, float (N, C)."""
import numpy as np
from scipy import optimize
from scipy.special import digamma, expit, log_expit

from common.crowd.bayes import ROUNDS, TOLERANCE
from common.crowd.confusion_counts import ConfusionCounts
from common.crowd.tempering import FLOOR, softmax

SUBTYPES = 10  # of a class, in EBCC
SUBTYPE_PRIOR = .1  # the sum of the Dirichlet parameters over a class's subtypes


def _shares(crowd):
    """float (N, C): the shares of the votes; the class shares for an item without labels."""
    votes = crowd.votes().cpu().double().numpy()
    count = votes.sum(1, keepdims=True)
    return np.where(count > 0, votes / np.maximum(count, 1), votes.sum(0) / max(votes.sum(), 1))


def _em(posterior, step):
    """The posterior (N, C) at the end of EM; step: a function of a posterior to the next one."""
    for _ in range(ROUNDS):
        before, posterior = posterior, step(posterior)
        if np.abs(posterior - before).sum() < TOLERANCE * 2 * len(posterior):
            break
    return posterior


def glad(crowd):
    """GLAD (Whitehill et al. 2009): P(y_i^m = z_i) = sigmoid(a_m b_i), errors are even.

    a_m ~ N(1, 1) is the annotator's ability, 1 / b_i the item's difficulty, log b_i ~ N(1, 1). The M-step is L-BFGS.
    """
    item, annotator, label = crowd.triples()
    items, annotators, classes = len(crowd), crowd.annotators, crowd.classes
    values = np.ones(annotators + items)  # a, log b

    def step(posterior):
        nonlocal values
        right = posterior[item, label]

        def loss(values):
            a, b = values[:annotators][annotator], np.exp(values[annotators:])[item]
            fit = right @ log_expit(a * b) + (1 - right) @ (log_expit(-a * b) - np.log(max(classes - 1, 1)))
            slope = right - expit(a * b)
            gradient = np.concatenate([np.bincount(annotator, slope * b, annotators),
                                       np.bincount(item, slope * a * b, items)])
            prior = values - 1
            return prior @ prior / 2 - fit, prior - gradient
        values = optimize.minimize(loss, values, jac=True, method="L-BFGS-B", options={"maxiter": 10},
                                   bounds=[(None, None)] * annotators + [(-5, 5)] * items).x
        strength = values[:annotators][annotator] * np.exp(values[annotators:])[item]
        weight = log_expit(strength) - log_expit(-strength) + np.log(max(classes - 1, 1))
        evidence = np.bincount(item * classes + label, weight, items * classes).reshape(items, classes)
        return softmax(evidence)
    return _em(_shares(crowd), step)


def mace(crowd):
    """MACE (Hovy et al. 2013): annotator m knows the class with probability theta_m, and otherwise draws a label from xi^m.

    Variational Bayes, theta ~ Beta(1/2, 1/2), xi ~ Dir(10), from the shares of the votes.
    """
    item, annotator, label = crowd.triples()
    items, annotators, classes = len(crowd), crowd.annotators, crowd.classes
    knows = np.full(len(label), .5)

    def step(posterior):
        nonlocal knows
        known = posterior[item, label] * knows
        sums = np.bincount(annotator, known, annotators), np.bincount(annotator, 1 - known, annotators)
        total = digamma(sums[0] + sums[1] + 1)
        theta, free = (np.exp(digamma(part + .5) - total)[annotator] for part in sums)
        guessed = np.bincount(annotator * classes + label, 1 - known, annotators * classes).reshape(annotators, classes) + 10
        xi = np.exp(digamma(guessed) - digamma(guessed.sum(1, keepdims=True)))[annotator, label]
        knows = theta / np.maximum(theta + free * xi, FLOOR)
        weight = np.log(np.maximum(theta + free * xi, FLOOR)) - np.log(np.maximum(free * xi, FLOOR))
        return softmax(np.bincount(item * classes + label, weight, items * classes).reshape(items, classes))
    return _em(_shares(crowd), step)


def ebcc(crowd):
    """EBCC (Li, Rubinstein & Cohn 2019): each class has subtypes of items, which correlate the annotators' errors.

    Variational Bayes from the shares of the votes and random subtypes (a fixed seed), with the priors of its authors' code.
    """
    count = ConfusionCounts(crowd)
    shape = count.items, count.classes, SUBTYPES
    prior = (1 + 3 * np.eye(count.classes)[count.row_label]).repeat(SUBTYPES, 1)
    start = np.random.RandomState(0).dirichlet(np.ones(SUBTYPES), shape[:2])

    def step(joint):
        counts = count.counting @ joint
        table = digamma(counts + prior) - digamma(count.by_annotator @ counts + count.classes + 3)[count.row_annotator]
        sizes = joint.sum(0).reshape(shape[1:])
        share = digamma(sizes + SUBTYPE_PRIOR / SUBTYPES) - digamma(sizes.sum(1, keepdims=True) + SUBTYPE_PRIOR)
        share += digamma(sizes.sum(1, keepdims=True) + 1) - digamma(sizes.sum() + count.classes)
        return softmax(count.bags @ table + share.ravel())
    joint = _em((_shares(crowd)[:, :, None] * start).reshape(count.items, -1), step)
    return joint.reshape(shape).sum(2)


AGGREGATORS = {"glad": glad, "mace": mace, "ebcc": ebcc}
