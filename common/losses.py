"""The f-mutual information of Max-MIG: six f-divergences and the MIG^f loss, as pure functions.

Each divergence is given by df and by the conjugate at df, f*(df(K)), as functions of log K: h and g come from
log-softmax, and K can underflow in float32 where log K does not. Where df is a power of 1/K, K has a floor, so that neither
the loss nor the squared gradient, which Adam keeps, overflows.
"""
import math

import torch
from torch.nn.functional import softplus

LARGEST = 40.  # log(1 / K) that is exponentiated: e^40 and its square, in Adam, are finite in float32


def _smooth_total_variation_conjugate(log_k):
    k = log_k.clamp(max=LARGEST).exp()
    return 2 * torch.atan(k) - 2 * k / (k * k + 1) - math.pi / 2 + 1


DIVERGENCES = {  # name: (df, f* of df), each of log K
    "kl": (lambda log_k: 1 + log_k, torch.exp),
    "reverse-kl": (lambda log_k: -torch.exp((-log_k).clamp(max=LARGEST)), lambda log_k: log_k - 1),
    "pearson": (lambda log_k: 2 * torch.expm1(log_k), lambda log_k: torch.expm1(2 * log_k)),
    "jensen-shannon": (lambda log_k: math.log(2) - softplus(-log_k), lambda log_k: softplus(log_k) - math.log(2)),
    "hellinger": (lambda log_k: -torch.expm1((-log_k / 2).clamp(max=LARGEST)), lambda log_k: torch.expm1(log_k / 2)),
    "total-variation": (torch.sign, torch.sign),
    # f(t) = t - 2 arctan t + pi/2 - 1 is convex, f(1) = 0 and df(K) = tanh(log K): the smooth stand-in for the sign
    "smooth-total-variation": (torch.tanh, _smooth_total_variation_conjugate),
}

SURROGATES = {"total-variation": "smooth-total-variation"}  # what to train with where df has no gradient


def trainable(divergence):
    """The name of the divergence to train with: total variation's smooth surrogate, any other itself."""
    return SURROGATES.get(divergence, divergence)


def log_ratio(log_h, log_g, log_prior):
    """(B, B): log K_ij, K_ij = sum_c h(x_i)_c g(y_j)_c / p_c. log_h, log_g: (B, C); log_prior: (C,)."""
    return torch.logsumexp((log_h - log_prior)[:, None] + log_g[None], 2)


def mig_loss(log_h, log_g, log_prior, divergence="kl", labelled=None):
    """-MIG^f = -(1/B) sum_i df(K_ii) + 1/(B(B-1)) sum_{i != j} f*(df(K_ij)), a scalar in nats.

    log_h, log_g: (B, C) log-probabilities of the classifier and the aggregator for the same B items;
    log_prior: (C,); divergence: a key of DIVERGENCES; labelled: bool (B,), the items that count (those with crowd
    labels), all by default. With fewer than two items that count, the loss is zero.
    """
    derivative, conjugate = DIVERGENCES[divergence]
    log_k = log_ratio(log_h, log_g, log_prior)
    if labelled is None:
        labelled = torch.ones(len(log_k), dtype=torch.bool, device=log_k.device)
    count = labelled.sum()
    pair = labelled[:, None] & labelled[None] & (count > 1)
    log_k = torch.where(pair, log_k, 0)  # what does not count has no part in the gradient either, infinite or not
    diagonal = torch.eye(len(log_k), dtype=torch.bool, device=log_k.device)
    joint = torch.where(labelled, derivative(log_k.diagonal()), 0).sum() / count.clamp(min=1)
    product = torch.where(pair & ~diagonal, conjugate(log_k), 0).sum() / (count * (count - 1)).clamp(min=1)
    return torch.where(count > 1, product - joint, 0)


def label_mig_loss(log_h, labels, log_prior, divergence="kl", used=None):
    """-MIG^f between the classifier and one noisy label an item: the mig_loss of the labels as one-hot g, so that
    K_ij = h(x_i)_c / p_c where item j's label is c. Returns a scalar in nats; of soft labels the expected loss over labels
    that are drawn from them independently.

    log_h: (B, C); labels: (B, C), the probability that item i's label is c; log_prior: (C,); used: bool (B,), the
    items that count, all by default. With fewer than two that count, the loss is zero.
    """
    derivative, conjugate = DIVERGENCES[divergence]
    log_k = log_h - log_prior
    used = torch.ones_like(log_k[:, :1]) if used is None else used[:, None].to(log_k)
    labels, count = labels * used, used.sum()
    log_k = torch.where((used > 0) & (count > 1), log_k, 0)  # what does not count has no part in the gradient either
    independent = conjugate(log_k) * used
    joint = (labels * derivative(log_k)).sum() / count.clamp(min=1)
    product = (independent.sum(0) @ labels.sum(0) - (independent * labels).sum()) / (count * (count - 1)).clamp(min=1)
    return torch.where(count > 1, product - joint, 0)
