"""The field's other methods: each loss against a float64 loop by the papers' formula, and the matrices they tell of."""
import numpy as np
import pytest
import torch
from torch import nn

from common.crowd.labels import CrowdLabels
from common.methods.geo_crowd_net import minus_log_volume
from common.methods.method import Batch, Constants, Setting
from common.methods.registry import METHODS
from common.names import CROWD_MODELS
from common.networks.classifier import Classifier
from test_methods import CLASSES, DENSE, INPUTS, h_of, make, whole_batch

LABELS = [(i, m, DENSE[i, m]) for i, m in np.argwhere(DENSE >= 0)]
EYE = np.eye(CLASSES)


def softmax(array, axis):
    array = np.exp(np.asarray(array, np.float64))
    return array / array.sum(axis, keepdims=True)


def moved(name):
    """The method with its own parameters away from where they start, and the crowd."""
    method, crowd = make(name)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, parameter in method.named_parameters():
            if not key.startswith("classifier"):
                parameter += .5 * torch.randn(parameter.shape, generator=generator)
    return method, crowd


def coupled(h, matrices):
    return np.mean([-np.log(h[i] @ matrices[m, :, label]) for i, m, label in LABELS])


def test_trace_reg():
    method, _ = make("trace-reg")
    np.testing.assert_array_equal(method.free.detach(), np.tile(6 * EYE - 5, (3, 1, 1)))
    method, crowd = moved("trace-reg")
    matrices = softmax(method.free.detach(), 2)
    expected = coupled(h_of(method), matrices) + .01 * np.mean([np.trace(matrix) for matrix in matrices])
    assert method.loss(whole_batch(crowd)).item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(method.confusion(None, crowd), matrices, rtol=1e-5)


@pytest.mark.parametrize("variant", ["f", "w"])
def test_geo_crowd_net(variant):
    method, _ = make(f"geo-crowd-net-{variant}")
    np.testing.assert_array_equal(method.free.detach(), np.tile(EYE, (3, 1, 1)))
    method, crowd = moved(f"geo-crowd-net-{variant}")
    h, matrices = h_of(method).astype(np.float64), softmax(method.free.detach(), 2)
    used = h[[0, 1, 3, 4]]  # item 2 has no labels
    gram = used.T @ used if variant == "f" else sum(matrix @ matrix.T for matrix in matrices)
    expected = coupled(h, matrices) - 1e-3 * np.log(np.linalg.det(gram))
    assert method.loss(whole_batch(crowd)).item() == pytest.approx(expected, rel=1e-4)


def test_a_volume_that_vanishes_is_dropped_with_its_gradient():
    flat = torch.ones(3, 3, requires_grad=True)
    term = minus_log_volume(flat)
    term.backward()
    assert term == 0 and torch.isfinite(flat.grad).all()
    far = (1e-40 * torch.eye(3, dtype=torch.float64)).requires_grad_()
    assert minus_log_volume(far) == 0
    assert minus_log_volume(torch.diag(torch.tensor([1., 1., -1e-6]))) == 0  # a determinant below zero by rounding
    gram = torch.tensor([[2., .5], [.5, 1.]], dtype=torch.float64, requires_grad=True)
    assert minus_log_volume(gram).item() == pytest.approx(-np.log(1.75))
    assert torch.autograd.gradcheck(minus_log_volume, (gram,))


def test_conal():
    method, crowd = moved("conal")
    h, common = h_of(method).astype(np.float64), method.common.detach().numpy().astype(np.float64)
    own = method.own.detach().numpy().reshape(-1, CLASSES, CLASSES).astype(np.float64)
    people = method.people.weight.detach().numpy()
    items = method.difficulty(INPUTS).detach().numpy()
    losses = []
    for i, m, label in LABELS:
        u, v = people[m] / np.linalg.norm(people[m]), items[i] / np.linalg.norm(items[i])
        w = 1 / (1 + np.exp(-u @ v))
        logits = w * h[i] @ common + (1 - w) * h[i] @ own[m]
        losses.append(np.log(np.exp(logits).sum()) - logits[label])
    expected = np.mean(losses) - 1e-5 * sum(np.linalg.norm(matrix - common) for matrix in own)
    assert method.loss(whole_batch(crowd)).item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(method.confusion(None, crowd), softmax((common + own) / 2, 2), rtol=1e-5)


def test_conal_starts_with_equal_matrices_and_a_finite_gradient():
    method, crowd = make("conal")
    np.testing.assert_array_equal(method.common.detach(), 2 * EYE)
    np.testing.assert_array_equal(method.own.detach(), np.tile(2 * EYE, (3, 1)))
    method.loss(whole_batch(crowd)).backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())
    assert method.distance() == 0


def test_union_net():
    method, _ = make("union-net")
    np.testing.assert_allclose(method.free.detach(), np.tile((1 - 1e-5) * EYE + .5e-5 * (1 - EYE), (3, 1)), rtol=1e-6)
    method, crowd = moved("union-net")
    h, together = h_of(method).astype(np.float64), softmax(method.free.detach(), 0)
    expected = -sum(np.log(h[i] @ together[m * CLASSES + label]) for i, m, label in LABELS) / 4
    assert method.loss(whole_batch(crowd)).item() == pytest.approx(expected, rel=1e-5)
    matrices = method.confusion(None, crowd)
    for m in range(3):
        own = together[m * CLASSES:(m + 1) * CLASSES]
        np.testing.assert_allclose(matrices[m], (own / own.sum(0)).T, rtol=1e-5)


def with_outliers():
    """COINNet away from where it starts, with outliers large enough for a clamped probability; its crowd."""
    method, crowd = moved("coinnet")
    method.outliers += .6 * torch.randn(method.outliers.shape, generator=torch.Generator().manual_seed(5))
    return method, crowd


def test_coinnet():
    method, crowd = make("coinnet")
    np.testing.assert_array_equal(method.free.detach(), np.tile(EYE, (3, 1, 1)))
    assert method.outliers.shape == (len(LABELS), CLASSES) and not method.outliers.any()
    method, crowd = with_outliers()
    h, matrices = h_of(method).astype(np.float64), softmax(method.free.detach(), 2)
    outliers = method.outliers.numpy().astype(np.float64)
    outliers -= outliers.mean(1, keepdims=True)
    for items in ([0, 1, 2, 3, 4], [4, 1, 3]):  # the outliers are those of the batch's items, in whatever order
        losses, squares, clamped = [], dict.fromkeys(items, 0.), 0
        for (i, m, label), outlier in zip(LABELS, outliers, strict=True):
            if i in items:
                free = h[i] @ matrices[m] + outlier
                fitted = free.clip(1e-10, 1 - 1e-10)
                losses.append(-np.log(fitted[label] / fitted.sum()))
                squares[i] += (outlier ** 2).sum()
                clamped += (free != fitted).any()
        used = h[[i for i in items if i != 2]]  # item 2 has no labels
        expected = np.mean(losses) + .01 * sum((s + 1e-10) ** .2 for i, s in squares.items() if i != 2)
        volume = np.linalg.slogdet(used.T @ used)[1]
        expected -= .01 * volume
        index = torch.tensor(items)
        loss = method.loss(Batch(index, INPUTS[index], crowd.select(index)))
        assert loss.item() == pytest.approx(expected, rel=1e-4) and clamped


def test_coinnet_trains_the_outliers_of_the_batch_alone_by_adam():
    """As torch's Adam on the rows of the batch; the others keep their place, though they have momentum."""
    method, crowd = with_outliers()
    method.rate = .01
    rows = {item: [k for k, (i, _, _) in enumerate(LABELS) if i == item] for item in (4, 1)}  # of the outliers
    reference = {item: torch.nn.Parameter(method.outliers[place].clone()) for item, place in rows.items()}
    optimizers = {item: torch.optim.Adam([parameter], .01) for item, parameter in reference.items()}
    untouched = method.outliers.clone()
    for items in ([4], [4, 1], [4], [1]):
        index = torch.tensor(items)
        batch = Batch(index, INPUTS[index], crowd.select(index))
        found = []
        trained = method.trained_outliers
        method.trained_outliers = lambda place, trained=trained, found=found: found.append(trained(place)) or found[-1]
        method.loss(batch).backward()
        del method.trained_outliers
        for item, gradient in zip(items, found[0].grad.split([len(rows[item]) for item in items]), strict=True):
            reference[item].grad = gradient
            optimizers[item].step()
        for item, place in rows.items():
            torch.testing.assert_close(method.outliers[place], reference[item].detach())
    others = [k for k in range(len(LABELS)) if k not in rows[4] + rows[1]]
    assert torch.equal(untouched[others], method.outliers[others])
    before = method.outliers.clone()
    with torch.no_grad():
        method.loss(whole_batch(crowd))
    assert torch.equal(before, method.outliers)


def test_annot_mix(monkeypatch):
    """The loss on mixed triples; dropout and batch norm are left out by eval()."""
    method, crowd = make("annot-mix")
    share, other = torch.linspace(.1, .9, len(LABELS)), torch.arange(len(LABELS)).roll(2)
    monkeypatch.setattr(torch, "rand", lambda count: share)
    monkeypatch.setattr(torch, "randperm", lambda count: other)
    method.eval()

    def matrix(x, code):
        """The network's matrix for an input and an annotator's code, in float64."""
        hidden = np.concatenate([method.people.detach().numpy().T.astype(np.float64) @ code,
                                 method.item.weight.detach().numpy() @ x + method.item.bias.detach().numpy()])
        first, norm, last = method.joint[1], method.joint[2], method.joint[4]
        hidden = first.weight.detach().numpy() @ hidden + first.bias.detach().numpy()
        hidden = np.maximum(hidden / np.sqrt(1 + norm.eps), 0)  # of a new batch norm
        logits = last.weight.detach().numpy() @ hidden + last.bias.detach().numpy()
        return softmax(logits.reshape(CLASSES, CLASSES), 1)
    x = INPUTS.numpy().astype(np.float64)
    head = method.classifier.head
    losses = []
    for k, a in enumerate(share.numpy().astype(np.float64)):
        (i, m, label), (j, n, second) = LABELS[k], LABELS[other[k]]
        mixed = a * x[i] + (1 - a) * x[j]
        h = softmax(head.weight.detach().numpy() @ mixed + head.bias.detach().numpy(), 0)
        fitted = h @ matrix(mixed, a * EYE[m] + (1 - a) * EYE[n])
        losses.append(-a * np.log(fitted[label]) - (1 - a) * np.log(fitted[second]))
    assert method.loss(whole_batch(crowd)).item() == pytest.approx(np.mean(losses), rel=1e-5)

    with torch.no_grad():
        method.end_epoch(lambda function: function(INPUTS))
    for m in range(3):
        mine = np.mean([matrix(x[i], EYE[m]) for i, n, _ in LABELS if n == m], 0)
        np.testing.assert_allclose(method.confusion(None, crowd)[m], mine, rtol=1e-4)


def test_annot_mix_starts_with_an_accuracy_of_nine_tenths():
    method, crowd = make("annot-mix")
    np.testing.assert_allclose(method.confusion(None, crowd), np.tile(.9 * EYE + .05 * (1 - EYE), (3, 1, 1)), rtol=1e-5)
    np.testing.assert_allclose(method.joint[-1].bias.detach().view(CLASSES, CLASSES), np.log(18) * EYE, rtol=1e-6)


def test_annot_mix_takes_no_gradient_of_the_features_into_the_matrices():
    """The classifier's body learns by the classifier alone: with a head of zeros it has no gradient."""
    method, crowd = make("annot-mix")
    method.classifier.body = nn.Linear(4, 4)
    with torch.no_grad():
        method.classifier.head.weight.zero_()
    method.loss(whole_batch(crowd)).backward()
    assert not method.classifier.body.weight.grad.any() and method.item.weight.grad.any()


@pytest.mark.parametrize("name", ["trace-reg", "geo-crowd-net-f", "geo-crowd-net-w", "conal", "union-net", "coinnet",
                                  "annot-mix"])
def test_they_learn_who_is_right(name):
    """On a crowd of two good annotators and one who is wrong on purpose the matrices tell them apart.

    The classifier starts at zero: the volume of coinnet can fix an exchange of classes that random weights begin with.
    The matrices of annot-mix see the items too. They are trained more slowly, or they would fit the labels without it.
    """
    random = np.random.default_rng(0)
    truth = random.integers(0, CLASSES, 600)
    inputs = torch.from_numpy((3 * np.eye(CLASSES)[truth] + random.normal(size=(600, CLASSES))).astype(np.float32))
    right = np.stack([random.random(600) < a for a in (.85, .85, .1)], 1)
    crowd = CrowdLabels.from_dense(np.where(right, truth[:, None], (truth[:, None] + 1) % CLASSES), CLASSES)
    torch.manual_seed(0)
    setting = Setting(lambda: Classifier(nn.Identity(), nn.Linear(CLASSES, CLASSES)), crowd, torch.from_numpy(truth),
                      torch.full((CLASSES,), 1 / 3), input_size=CLASSES, constants=Constants(smoothing=1e-2))
    method = METHODS[name](setting)
    nn.init.zeros_(method.classifier.head.weight)
    theirs = [p for key, p in method.named_parameters() if not key.startswith("classifier")]
    optimizer = torch.optim.Adam([{"params": method.classifier.parameters()},
                                  {"params": theirs, "lr": 1e-3 if name == "annot-mix" else 3e-2}], 3e-2)
    for _ in range(150):
        loss = method.loss(Batch(torch.arange(600), inputs, crowd))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        method.eval().end_epoch(lambda function=None: (function or method.predict)(inputs))
    accuracy = method.confusion(None, crowd).diagonal(dim1=1, dim2=2).mean(1)
    assert accuracy[-1] < accuracy[:-1].min() - .1
    assert (method.predict(inputs).argmax(1).numpy() == truth).mean() > .9


@pytest.mark.parametrize("teacher", CROWD_MODELS)
def test_kd_crowd_stands_on_every_crowd_model(teacher):
    """The loss of stage 2 is the crowd model's and kd_weight times the distillation of what the model itself predicts."""
    targets = torch.softmax(torch.randn(5, CLASSES, generator=torch.Generator().manual_seed(1)), 1)
    student, crowd = make(f"kd-crowd-{teacher}", targets=targets, kd_loss="kl", kd_weight=2.)
    alone, _ = make(teacher)
    student.load_state_dict(alone.state_dict())
    batch = whole_batch(crowd)
    p = student.predict(INPUTS).detach().numpy()
    divergence = (targets.numpy() * (np.log(targets.numpy()) - np.log(p))).sum(1).mean()
    torch.manual_seed(1)  # a loss may draw
    expected = alone.loss(batch).item() + 2 * divergence
    torch.manual_seed(1)
    assert student.loss(batch).item() == pytest.approx(expected, rel=1e-4)
