"""Probabilities and their logarithms; the tempering exponent b and the temperature T of the label model (see bayes.py)."""
import numpy as np
from scipy import optimize

FLOOR = 1e-6  # of a probability, where its logarithm is taken
LOG_SCALES = -4., 1.5  # the bounds of -log T


def softmax(logits):
    """float (N, C): the softmax of each row; in place."""
    logits -= logits.max(1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(1, keepdims=True)
    return logits


def log(p):
    """float64: the logarithm of probabilities of any shape, FLOOR at the least."""
    return np.log(np.maximum(p, FLOOR))


def log_likelihoods(logits, own):
    """(K,): log sum_c softmax(logits)_c own_c, at least log FLOOR. logits, which are overwritten, and own: (K, C)."""
    return np.log(np.maximum(np.einsum("lc,lc->l", softmax(logits), own), FLOOR))


def fit_tempering(others, log_prior, own, fixed):
    """(b, 1 / T) that maximise the likelihood of K labels times b, the density of Beta(2, 1); 1 / T is 1 if `fixed`. others,
    log_prior, own: float64 (K, C)."""
    def loss(values):
        p = softmax(values[0] * others + values[1] * log_prior)
        likelihood = np.maximum((p * own).sum(1), FLOOR)
        slope = p - p * own / likelihood[:, None]
        slopes = np.array([(slope * others).sum() - 1 / values[0], (slope * log_prior).sum()])
        return -(np.log(likelihood).sum() + np.log(values[0])) / len(own), slopes / len(own)
    scales = (1., 1.) if fixed else np.exp(LOG_SCALES)
    return optimize.minimize(loss, (.7, 1. if fixed else .7), jac=True, method="L-BFGS-B", bounds=((FLOOR, 1.), scales)).x
