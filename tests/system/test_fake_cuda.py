"""Every method on a GPU that is not there: tensors of two devices that meet, and steps that wait for the device.

torch's meta tensors, which have a shape and no values, stand for those of the GPU. (Its FakeTensorMode says "cuda" of them,
but without a driver such tensors have no backward.)
"""
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from common.crowd.labels import CrowdLabels
from common.data.images import Augmentation, ImageSet
from common.kd_crowd.registry import ROBUST
from common.methods.aggregate_then_train import MajorityVote
from common.methods.method import Batch, Constants, Distillation, Setting
from common.methods.registry import METHODS
from common.methods.true_label import TrueLabel
from common.networks.classifier import Classifier
from common.training.learner import Learner
from common.training.protocol import Protocol

dispatch = pytest.importorskip("torch.utils._python_dispatch", reason="torch has moved its dispatch modes")
aten, CPU, GPU = torch.ops.aten, torch.device("cpu"), torch.device("meta")
CLASSES, SIDE = 3, 4
DENSE = np.array([[0, 0, 1], [1, -1, 1], [-1, -1, -1], [2, 1, -1], [0, 2, 2]])  # item 2 has no labels
KINDS = METHODS | ROBUST
PROTOCOL = Protocol("fake", None, 1, 2, 1e-3, 1e-3, (1 / CLASSES,) * CLASSES, ())


class FakeGPU(dispatch.TorchDispatchMode):
    """Raises AssertionError where a tensor of the CPU meets one of the GPU; within `step` also where a value is read from
    the GPU, and where a copy waits for it. Elsewhere what is read is 0, and counts are."""
    step = False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [t for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        ours = any(t.device == GPU for t in tensors)
        moved = function in (aten._to_copy.default, aten.copy_.default)
        if ours and not moved:
            assert all(t.device == GPU or t.dim() == 0 for t in tensors), f"{function} of two devices"
        if moved and self.step and {t.device for t in tensors} | {kwargs.get("device") or tensors[0].device} == {CPU, GPU}:
            assert kwargs.get("non_blocking") or args[-1] is True, f"{function} waits for the device"
        if ours and function is aten._local_scalar_dense.default:
            assert not self.step, "a value is read"
            return torch.zeros((), dtype=args[0].dtype).item()
        if ours and function is aten.bincount.default:
            assert not self.step, "values are counted"
            assert len(args) < 2 or args[1] is None, "weighted counts are not the same twice"
            return args[0].new_zeros(args[2])
        return function(*args, **kwargs)


def network():
    return Classifier(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(.5)),
                      nn.Linear(4 * SIDE**2, CLASSES))


def make(kind):
    """(Learner, Batch, inputs, CrowdLabels) of five images on the GPU."""
    crowd = CrowdLabels.from_dense(DENSE, CLASSES).to(GPU)
    images = ImageSet(torch.zeros(5, SIDE, SIDE, 3, dtype=torch.uint8), (.5,) * 3, (.2,) * 3, Augmentation(True, 15)).to(GPU)
    setting = Setting(network, crowd, torch.zeros(5, dtype=torch.int64, device=GPU),
                      torch.full((CLASSES,), 1 / CLASSES, device=GPU), 10, 3 * SIDE**2,
                      Constants(learn_prior=True, crowd_layer_start="aggregator"),
                      Distillation(torch.zeros(5, CLASSES, device=GPU)))
    items = torch.arange(5, device=GPU)
    return (Learner(str(kind.name), 0, 0, kind(setting), PROTOCOL, GPU),
            Batch(items, images.batch(items, images.draw(None)), crowd, lambda: images.view(items)), images, crowd)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta tensors
    with FakeGPU() as mode:
        yield mode


def step(mode, kind):
    learner, batch, images, crowd = make(kind)
    learner.step(batch, 0)  # the optimiser makes its state
    mode.step = True
    loss = learner.step(batch, 0)
    mode.step = False
    assert loss.device == GPU and loss.shape == () and loss.dtype == torch.float32
    assert all(p.grad.device == GPU for p in learner.method.parameters() if p.grad is not None)
    return learner, images, crowd


@pytest.mark.parametrize("name", KINDS)
def test_a_step_stays_on_its_device_and_waits_for_nothing(gpu, name):
    step(gpu, KINDS[name])


def test_dividemix_waits_for_nothing_after_its_warm_up(gpu):
    learner, batch, *_ = make(ROBUST["dividemix"])
    learner.method.epoch = learner.method.warm_up
    gpu.step = True
    assert learner.step(batch, 0).device == GPU


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_what_a_method_says_is_on_its_device(gpu, name):
    learner, _, images, crowd = make(KINDS[name])
    method = learner.method.eval()
    inputs = images.batch(slice(0, 5))

    def predict(function=method.predict):
        return function(inputs)
    method.end_epoch(predict)
    h = predict()
    said = [h, method.log_probabilities(method.classifier(inputs)), method.aggregate(h)]
    said += [method.forecast(h, crowd)] if method.forecasts else []
    said += [method.revise(h)] if hasattr(method, "revise") else []
    assert all(p.device == GPU and p.shape[0] == 5 for p in said)
    confusion = method.confusion(h, crowd)
    assert confusion.device == GPU and confusion.shape == (3, CLASSES, CLASSES)


class OfTheCPU(TrueLabel):
    """Forgets to move a tensor."""
    def __init__(self, setting):
        super().__init__(setting)
        self.truth = torch.zeros(5, dtype=torch.int64)


class Reading(MajorityVote):
    def loss_from(self, logits, batch):
        return super().loss_from(logits, batch) * (1 if logits.sum() > 0 else 2)


class Masking(MajorityVote):
    def loss_from(self, logits, batch):
        return logits[batch.crowd.counts > 0].sum()


class Waiting(MajorityVote):
    def loss_from(self, logits, batch):
        return super().loss_from(logits, batch) + (logits * torch.randn(CLASSES).to(logits.device)).sum()


class Beside(MajorityVote):
    def loss_from(self, logits, batch):
        return super().loss_from(logits + torch.ones(CLASSES), batch)


@pytest.mark.parametrize(("kind", "message"), [
    (OfTheCPU, "of two devices"), (Beside, "of two devices"), (Reading, "a value is read"),
    (Waiting, "waits for the device"), (Masking, "nonzero")])
def test_the_mistakes_that_this_is_to_find_are_found(gpu, kind, message):
    with pytest.raises((AssertionError, NotImplementedError), match=message):
        step(gpu, kind)
