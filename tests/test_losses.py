"""The six divergences and the MIG^f loss, against their definitions in float64 NumPy."""
import itertools

import numpy as np
import pytest
import torch

from common.losses import DIVERGENCES, SURROGATES, label_mig_loss, mig_loss

F = {  # the definitions, and the derivative and conjugate that PAPERS gives for them, of K itself
    "kl": (lambda t: t * np.log(t), lambda k: 1 + np.log(k), lambda k: k),
    "reverse-kl": (lambda t: -np.log(t), lambda k: -1 / k, lambda k: np.log(k) - 1),
    "pearson": (lambda t: (t - 1) ** 2, lambda k: 2 * (k - 1), lambda k: k * k - 1),
    "jensen-shannon": (lambda t: t * np.log(t) - (t + 1) * np.log((t + 1) / 2), lambda k: np.log(2 * k / (1 + k)),
                       lambda k: -np.log(2 / (1 + k))),
    "hellinger": (lambda t: (np.sqrt(t) - 1) ** 2, lambda k: 1 - 1 / np.sqrt(k), lambda k: np.sqrt(k) - 1),
    "total-variation": (lambda t: abs(t - 1), lambda k: np.sign(np.log(k)), lambda k: np.sign(np.log(k))),
    "smooth-total-variation": (lambda t: t - 2 * np.arctan(t) + np.pi / 2 - 1, lambda k: np.tanh(np.log(k)), None),
}
K = np.array([.03, .2, .7, .999, 1.4, 3., 9.])


def test_every_divergence_is_checked():
    assert set(F) == set(DIVERGENCES)


@pytest.mark.parametrize("name", F)
def test_derivative_and_conjugate(name):
    f, derivative, conjugate = F[name]
    ours = [part(torch.tensor(np.log(K))).numpy() for part in DIVERGENCES[name]]
    np.testing.assert_allclose(ours[0], derivative(K), rtol=1e-9)
    step = 1e-6
    np.testing.assert_allclose(ours[0], (f(K + step) - f(K - step)) / (2 * step), rtol=1e-4, atol=1e-8)
    if conjugate:
        np.testing.assert_allclose(ours[1], conjugate(K), rtol=1e-9, atol=1e-12)
    # f*(u) = sup_t u t - f(t), over a grid that holds the maximum, which is at t = K
    t = np.concatenate([np.geomspace(1e-3, 1e3, 400_001), K, [1]])
    supremum = [np.max(u * t - f(t)) for u in ours[0]]
    np.testing.assert_allclose(ours[1], supremum, rtol=1e-5, atol=1e-6)


BOUNDED = {"reverse-kl", "jensen-shannon", "total-variation", "smooth-total-variation"}  # the others grow with K


@pytest.mark.parametrize("name, log_k", [*((name, -200.) for name in F), *((name, 90.) for name in sorted(BOUNDED))])
def test_extreme_ratios_are_finite(name, log_k):
    """The square of a gradient too, which Adam keeps."""
    for part in DIVERGENCES[name]:
        value = torch.tensor(log_k, requires_grad=True)
        out = part(value)
        assert torch.isfinite(out)
        if out.requires_grad:
            out.backward()
            assert torch.isfinite(value.grad ** 2)


def random_case(batch=7, classes=4, seed=0):
    random = np.random.default_rng(seed)
    h, g = (random.dirichlet(np.ones(classes), batch) for _ in range(2))
    return h, g, random.dirichlet(np.ones(classes) * 5)


def by_definition(h, g, p, name):
    _, derivative, conjugate = F[name]
    if conjugate is None:
        def conjugate(k):
            return k * derivative(k) - F[name][0](k)
    total, batch = 0., len(h)
    for i in range(batch):
        for j in range(batch):
            k = sum(h[i, c] * g[j, c] / p[c] for c in range(len(p)))
            total += derivative(k) / batch if i == j else -conjugate(k) / (batch * (batch - 1))
    return -total


def logs(*arrays, grad=False):
    return [torch.tensor(np.log(array), requires_grad=grad) for array in arrays]


@pytest.mark.parametrize("name", F)
def test_mig_loss(name):
    h, g, p = random_case()
    assert mig_loss(*logs(h, g, p), name).item() == pytest.approx(by_definition(h, g, p, name), rel=1e-9)


@pytest.mark.parametrize("name", F)
def test_mig_loss_leaves_out_items_without_labels(name):
    h, g, p = random_case()
    labelled = np.array([True, False, True, True, False, True, True])
    expected = by_definition(h[labelled], g[labelled], p, name)
    assert mig_loss(*logs(h, g, p), name, torch.tensor(labelled)).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [0, 1])
def test_mig_loss_of_fewer_than_two_items_is_zero_with_zero_gradient(count):
    h, g, p = random_case()
    h, g, p = logs(h, g, p, grad=True)
    loss = mig_loss(h, g, p, "kl", torch.arange(7) < count)
    loss.backward()
    assert loss == 0 and (h.grad == 0).all() and (g.grad == 0).all()


@pytest.mark.parametrize("name", [name for name in F if name not in SURROGATES])
def test_gradient(name):
    h, g, p = logs(*random_case(batch=4, classes=3), grad=True)
    assert torch.autograd.gradcheck(lambda *x: mig_loss(*x, name, torch.tensor([True, True, False, True])), (h, g, p))


@pytest.mark.parametrize("name", F)
def test_label_mig_loss_is_the_mean_over_the_labels_that_may_be_drawn(name):
    h, _, p = random_case(batch=3, classes=3)
    labels = np.array([[.6, .3, .1], [0, 1, 0], [.2, .2, .6]])
    expected = 0.
    for drawn in itertools.product(range(3), repeat=3):
        chance = labels[range(3), drawn].prod()
        expected += chance * by_definition(h, np.eye(3)[list(drawn)], p, name)
    log_h, log_p = logs(h, p)
    assert label_mig_loss(log_h, torch.tensor(labels), log_p, name).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_label_mig_loss_leaves_out_items_that_are_not_used(count):
    h, labels, p = random_case()
    log_h, log_p = logs(h, p)
    log_h.requires_grad_()
    used = torch.arange(7) < count
    loss = label_mig_loss(log_h, torch.tensor(labels), log_p, "kl", used)
    expected = label_mig_loss(log_h[used], torch.tensor(labels)[used], log_p) if count > 1 else torch.tensor(0.)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    loss.backward()
    assert (log_h.grad[count if count > 1 else 0:] == 0).all()


def test_total_variation_has_no_gradient_and_its_surrogate_has():
    gradients = []
    for name in ("total-variation", SURROGATES["total-variation"]):
        h, g, p = logs(*random_case(), grad=True)
        mig_loss(h, g, p, name).backward()
        gradients.append(h.grad.abs().max().item())
    assert gradients[0] == 0 and gradients[1] > 1e-3


def test_certain_and_contradicting_predictions_stay_finite():
    """h and g sure of different classes: K underflows in float32, its logarithm does not."""
    log_h = torch.log_softmax(torch.tensor([[300., 0], [0, 300.]]), 1).requires_grad_()
    log_g = torch.log_softmax(torch.tensor([[0., 300], [300, 0.]]), 1)
    loss = mig_loss(log_h, log_g, torch.log(torch.tensor([.5, .5])))
    loss.backward()
    assert loss.item() == pytest.approx(2 - (1 + np.log(4) - 300))  # K is 2 off the diagonal, 4 exp(-300) on it
    assert log_h.grad.isfinite().all()


@pytest.mark.parametrize("name", F)
@pytest.mark.parametrize("apart", [90., 1e4])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_extreme_logits_leave_loss_and_gradient_finite(name, apart, count):
    """float32, as in training; also where one item of the batch counts, or none."""
    labels = torch.tensor([0, 1, 0, 1])
    used, prior = torch.arange(4) < count, torch.log(torch.tensor([.5, .5]))
    for loss in (lambda h: mig_loss(h, torch.log_softmax(apart * torch.eye(2)[labels], 1), prior, name, used),
                 lambda h: label_mig_loss(h, torch.eye(2)[labels], prior, name, used)):
        logits = (apart * torch.eye(2)[[1, 0, 0, 1]]).requires_grad_()
        value = loss(torch.log_softmax(logits, 1))
        value.backward()
        assert value.isfinite() and logits.grad.isfinite().all() and (logits.grad ** 2).isfinite().all()
