"""How well a classifier predicts labels that it has not seen: by this an epoch and a method are chosen without the truth."""
from dataclasses import dataclass

import numpy as np

from common.crowd.tempering import log, log_likelihoods, softmax

HELD_OUT = "held_out_log_likelihood"  # its name in metrics.csv and summary.json
STEPS = 2  # of EM, before a classifier is scored


@dataclass(frozen=True)
class Score:
    """How well a classifier predicts labels that it has not seen.

    mean: the held-out log-likelihood in nats, a mean over the labels; items: (N,), the sums over each item's labels;
    calibrated: (N, C), the classifier's predictions at the temperature that maximises it.
    """
    mean: float
    items: np.ndarray
    calibrated: np.ndarray


def score(model, h):
    """The Score of a classifier, whose predictions h (N, C) have not seen the items' own labels, by a LabelModel.

    It is the mean over the labels (i, m, l) of log sum_c h(x_i)_c^(1/T) pi^m[c, l] (normalised). pi is estimated by two
    steps of EM that start from h, with the label's own count taken out; T maximises the result, so a classifier that
    is too sure of itself is not punished twice.
    """
    log_h = log(np.asarray(h, float))
    q = softmax(log_h.copy())
    for step in range(STEPS):
        annotators = model.m_step(q)
        scale = model.calibrate(q, annotators, log_h)
        rows, own = model.likelihoods(q, annotators)
        if step < STEPS - 1:
            q = model.clamp(softmax(scale * log_h + model.bags @ rows))
    labels = log_likelihoods(scale * log_h[model.item[model.scored]], own[model.scored])
    return Score(float(labels.mean()), np.bincount(model.item[model.scored], labels, model.items), softmax(scale * log_h))


def combine(model, scores):
    """(h (N, C), {name: its share}): the mean of the calibrated predictions that score no more than one standard
    error below the best. scores: {name: Score}."""
    best = max(scores.values(), key=lambda score: score.mean)
    seen = np.bincount(model.item[model.scored], minlength=model.items) > 0
    gaps = {name: (best.items - score.items)[seen] for name, score in scores.items()}
    names = [name for name, gap in gaps.items() if gap.mean() <= gap.std() / len(gap) ** .5]
    return sum(scores[name].calibrated for name in names) / len(names), {name: 1 / len(names) for name in names}
