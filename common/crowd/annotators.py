"""What is known of each annotator: accuracy with an interval, information, agreement beyond chance, flags."""
from dataclasses import dataclass

import numpy as np
from scipy import sparse, special, stats

from common.crowd.confusion_counts import SPAMMERS
from common.crowd.tempering import FLOOR

QUANTILE = stats.norm.cdf(1.96)  # of the intervals, which are two-sided and of 95 %
ADVERSARY, ABOVE_CHANCE = -3., 2.  # kappa in standard errors: below the first an adversary, from the second on no flag
TELLING = .1  # standard error of kappa above which there are too few labels to tell
PRIOR_HONEST = 1 - SPAMMERS[0] / sum(SPAMMERS)
ONE_LABEL, LEVEL = .95, .01  # one label only: the least share of that label, and the level of the test


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa of each annotator with the posterior of the items' other labels, (M,), and its standard error if the
    annotator ignored the items (Fleiss, Cohen & Everitt 1969). NaN without labels. classes: (M, C), the mean of that
    posterior over the annotator's items."""
    value: np.ndarray
    error: np.ndarray
    classes: np.ndarray


def kappas(model, labels):
    """The Kappa of a LabelModel's annotators by its Labels."""
    number = np.maximum(model.number, 1)
    right, classes = np.zeros(model.annotators), np.zeros((model.annotators, model.classes))
    for weight, _, others in labels.parts:
        own = others[np.arange(len(others)), model.label]
        right += weight * np.bincount(model.annotator, own, model.annotators)
        for c in range(model.classes):
            classes[:, c] += weight * np.bincount(model.annotator, others[:, c], model.annotators)
    given, classes = model.given / number[:, None], classes / number[:, None]
    chance = (given * classes).sum(1)
    room = np.maximum(1 - chance, FLOOR)
    variance = chance + chance ** 2 - (given * classes * (given + classes)).sum(1)
    error = np.sqrt(np.maximum(variance, 0) / number) / room
    silent = model.number == 0
    return Kappa(np.where(silent, np.nan, (right / number - chance) / room), np.where(silent, np.nan, error), classes)


def accuracies(model, labels):
    """(mean, low, high), each (M,): the probability with which each annotator's labels are right, with a 95 % interval; NaN
    without labels. Where items have one or two labels the mean is too low: one label says little of another.

    A Beta distribution with the mean and variance of a mixture. Its components are the parts of the posterior, each with and
    without the annotator's own labels. The variance has three sources: the components differ; the labels are uncertain;
    and the number of labels is finite.
    """
    number = np.maximum(model.number, 1)
    components = []
    for weight, posterior, others in labels.parts:
        for right in (posterior[model.item, model.label], others[np.arange(len(others)), model.label].astype(float)):
            components.append((weight / 2, np.bincount(model.annotator, right, model.annotators) / number,
                               np.bincount(model.annotator, right * (1 - right), model.annotators) / number ** 2))
    mean = sum(weight * accuracy for weight, accuracy, _ in components)
    variance = sum(weight * (spread + (accuracy - mean) ** 2) for weight, accuracy, spread in components)
    variance += mean * (1 - mean) / (number + 1)
    strength = np.maximum(mean * (1 - mean) / np.maximum(variance, FLOOR ** 2) - 1, FLOOR)
    a, b = np.maximum(mean * strength, FLOOR), np.maximum((1 - mean) * strength, FLOOR)
    certain = variance < FLOOR ** 2  # the labels are known
    found = mean, *(np.where(certain, mean, special.betaincinv(a, b, q)) for q in (1 - QUANTILE, QUANTILE))
    return tuple(np.where(model.number > 0, values, np.nan) for values in found)


def information(confusion, prior):
    """(M,): the mutual information of the true class and a label, in bits. confusion: (M, C, C); prior: (C,)."""
    joint = prior[:, None] * confusion
    product = prior[:, None] * joint.sum(1, keepdims=True)
    return np.maximum(special.rel_entr(joint, product).sum((1, 2)), 0) / np.log(2)


def flags(model, kappa, annotators, copies, names):
    """A list (M,) of what is odd about each annotator, "" for nothing.

    no labels; copies NAME; adversary: kappa is significantly below zero; nothing: it is significantly above zero; one label
    only, where the average annotator would have given significantly more others on these items (Poisson); too few labels
    to tell; spammer: the label model finds a spammer no less likely than before it saw the labels; else not above chance.

    kappa: Kappa; annotators: the label model's Annotators; copies: Copies; names: M.
    """
    most, common = model.given.max(1), model.given.argmax(1)
    average = kappa.classes @ (annotators.alpha / annotators.alpha.sum(1, keepdims=True))
    others = model.number * (1 - average[np.arange(model.annotators), common])
    alike = most > ONE_LABEL * model.number
    one = alike & (stats.poisson.cdf(model.number - most, others) < LEVEL)
    # the standard error where all classes are equally frequent: that of a few labels, which may be of one class, is too
    # small
    compared = np.bincount(model.annotator, model.votes.sum(1)[model.item] > 1, model.annotators)
    balanced = 1 / np.sqrt(np.maximum(compared, 1) * max(model.classes - 1, 1))
    found = []
    for m, (value, error) in enumerate(zip(kappa.value, kappa.error, strict=True)):
        first = copies.representative[m]
        if model.number[m] == 0:
            found.append("no labels")
        elif first != m:
            found.append(f"copies {names[first]}")
        elif value < ADVERSARY * error:
            found.append("adversary")
        elif value >= ABOVE_CHANCE * error and error > 0:
            found.append("")
        elif one[m]:
            found.append("one label only")
        elif max(error, balanced[m]) >= TELLING:
            found.append("too few labels to tell")
        elif annotators.honest[m] < PRIOR_HONEST:
            found.append("spammer")
        elif alike[m]:
            found.append("too few labels to tell")
        else:
            found.append("not above chance")
    return found


def expected_gain(posterior, confusion):
    """float (N,): how many bits one more label says of each item's class: I(z_i; y), y by an annotator with this confusion
    matrix (C, C). posterior: (N, C)."""
    given = posterior @ confusion
    noise = special.entr(confusion).sum(1)
    return np.maximum(special.entr(given).sum(1) - posterior @ noise, 0) / np.log(2)


def pooled_confusion(model, labels, counted):
    """float (C, C): the confusion matrix of the average annotator, weighted by the number of labels. counted: bool (M,), who
    counts: not who gives the gold labels."""
    rows = sparse.diags(counted[model.row_annotator].astype(float))
    counts = model.by_label @ rows @ (model.counting @ labels.parts[0][1])
    counts = counts.T + labels.annotators.alpha
    return counts / counts.sum(1, keepdims=True)
