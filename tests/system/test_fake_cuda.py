"""Steps and whole runs on a GPU that is not there: tensors of two devices that meet, and steps that wait for the device.

A tensor of this GPU has its values on the CPU, and its device is torch's `meta`. (FakeTensorMode says "cuda" of its tensors,
but without a driver these have no backward.)
"""
import threading
from contextlib import nullcontext

import numpy as np
import pandas as pd
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
from common.training.executor import SERIAL
from common.training.learner import Learner
from common.training.protocol import Protocol
from conftest import load_script
from test_checkpoints import stop_after
from test_own_runs import crowd as make_crowd

dispatch = pytest.importorskip("torch.utils._python_dispatch", reason="torch has moved its dispatch modes")
aten, CPU, GPU = torch.ops.aten, torch.device("cpu"), torch.device("meta")
MOVES = aten._to_copy, aten.copy_
INDEXES = aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_
LENGTHS = aten.nonzero, aten.masked_select, aten._unique2, aten.bincount
MAKERS = torch.tensor, torch.as_tensor, torch.asarray
CLASSES, SIDE = 3, 4
DENSE = np.array([[0, 0, 1], [1, -1, 1], [-1, -1, -1], [2, 1, -1], [0, 2, 2]])  # item 2 has no labels
KINDS = METHODS | ROBUST
PROTOCOL = Protocol("fake", None, 1, 2, 1e-3, 1e-3, (1 / CLASSES,) * CLASSES, ())

digits_main, own_main, own_predict = load_script("Digits"), load_script("OwnData"), load_script("OwnData", "predict.py")


class OnGPU(torch.Tensor):
    """A tensor of the GPU. `held` has its values, on the CPU."""
    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, strides=held.stride(), dtype=held.dtype, device=GPU,
                                                   storage_offset=held.storage_offset())

    def __init__(self, held):
        self.held = held

    def __reduce_ex__(self, protocol):
        return self.held.__reduce_ex__(protocol)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        assert function not in (torch.Tensor.numpy, torch.Tensor.__array__), "NumPy reads the GPU"
        if function is torch.Tensor.tolist:  # torch refuses it to subclasses
            return args[0].cpu().tolist()
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


def compute(function, args, kwargs):
    """Return what the function does with the values. AssertionError for tensors of two devices."""
    leaves, structure = torch.utils._pytree.tree_flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    operation, device = function.overloadpacket, kwargs.get("device")
    if operation not in MOVES:
        at = operation in INDEXES and args[0].device == GPU  # indices may be on the CPU: torch moves them
        together = [args[0], *args[2:3]] if at else tensors
        assert len({tensor.device for tensor in together if tensor.dim()}) < 2, f"{function} of two devices"
    wrapped = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, OnGPU)}
    held = [leaf.held if isinstance(leaf, OnGPU) else CPU if leaf == GPU else leaf for leaf in leaves]
    args_held, kwargs_held = torch.utils._pytree.tree_unflatten(held, structure)
    result = function(*args_held, **kwargs_held)
    on_gpu = (device or args[0].device if operation in MOVES else device or GPU) == GPU

    def wrap(tensor):
        if not isinstance(tensor, torch.Tensor):
            return tensor
        return wrapped[id(tensor)] if id(tensor) in wrapped else OnGPU(tensor) if on_gpu else tensor
    return torch.utils._pytree.tree_map(wrap, result)


class FakeGPU(dispatch.TorchDispatchMode):
    """Has the GPU's tensors made and computed. During a `step`, AssertionError where a value is read from the GPU, and where
    a copy waits for it."""
    step = False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, operation = kwargs or {}, function.overloadpacket
        tensors = [leaf for leaf in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device for tensor in tensors} | {kwargs.get("device") or (tensors[0].device if tensors else CPU)}
        if GPU not in devices:
            return function(*args, **kwargs)
        if self.step and operation in MOVES and CPU in devices:
            assert kwargs.get("non_blocking") or args[-1] is True, f"{function} waits for the device"
        assert not self.step or function is not aten._local_scalar_dense.default, "a value is read"
        masks = operation in INDEXES and any(index is not None and index.dtype == torch.bool for index in args[1])
        assert not (self.step and (masks or operation in LENGTHS)), f"{function}: a length is read"
        if operation is aten.bincount and len(args) > 1:
            assert args[1] is None, "weighted counts are not the same twice"
        return compute(function, args, kwargs)


class Making(torch.overrides.TorchFunctionMode):
    """Has torch.tensor and the like make tensors on the CPU and move them: a dispatch mode does not see them make one."""
    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function not in MAKERS:
            return function(*args, **kwargs)
        device = kwargs.pop("device", None)
        made = function(*args, **kwargs)
        return made if device is None else made.to(device)


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
    return (Learner(str(kind.name), 0, 0, kind(setting), PROTOCOL, GPU, SERIAL),
            Batch(items, images.batch(items, images.draw(None)), crowd, lambda: images.view(items)), images, crowd)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta tensors
    run = threading.Thread.run

    def run_here(thread):  # modes are those of one thread
        with Making(), FakeGPU():
            run(thread)
    monkeypatch.setattr(threading.Thread, "run", run_here)
    with Making(), FakeGPU() as mode:
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
    (Waiting, "waits for the device"), (Masking, "a length is read")])
def test_the_mistakes_that_this_is_to_find_are_found(gpu, kind, message):
    with pytest.raises(AssertionError, match=message):
        step(gpu, kind)


def agree(one, other):
    """Fails where two runs left different things. Adam on the CPU is another function than elsewhere: last digits differ."""
    assert {file.name for file in one.iterdir()} == {file.name for file in other.iterdir()}
    for table, columns in ("metrics.csv", "loss|test_accuracy"), ("labels.csv", "^p_"), ("annotators.csv", "accuracy"):
        numbers = [pd.read_csv(folder / table).filter(regex=columns).to_numpy(float) for folder in (one, other)]
        np.testing.assert_allclose(*numbers, atol=.03 if table == "metrics.csv" else 2e-3)


@pytest.mark.filterwarnings("ignore:.*which is a no-op")  # of torch, of tensors that are meta alone
@pytest.mark.parametrize("flags", [
    ("--select", "crowd", "--folds", "2", "--start", "auto", "--methods", "mbem", "max-mig"),
    ("--methods", "kd-crowd-aggnet", "--robust", "dividemix", "--augment", "fresh")])
def test_a_run_ends_and_resumes_as_on_the_cpu(gpu, tmp_path, blank_pictures, monkeypatch, flags):
    flags = ("--train-size", "60", "--test-size", "40", "--batch-size", "20", "--epochs", "2", "--precision", "float32",
             *flags)
    assert digits_main.main([*flags, "--device", "cpu", "--out", str(tmp_path / "cpu")]) == 0

    on_gpu = [*flags, "--device", "meta", "--out", str(tmp_path / "gpu")]
    stop_after(monkeypatch, 2, on_gpu)
    assert digits_main.main(on_gpu) == 0
    agree(tmp_path / "cpu", tmp_path / "gpu")


@pytest.mark.filterwarnings("ignore:.*which is a no-op")
def test_own_data_with_gold_ends_as_on_the_cpu(gpu, tmp_path, blank_pictures, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gold.csv").write_text("task,label\n" + "".join(f"item {k},no\n" for k in (*range(9), 81)))
    flags = [*make_crowd(tmp_path), "--gold", "gold.csv", "--epochs", "2", "--precision", "float32", "--methods", "aggnet",
             "max-mig"]
    for device in "cpu", "meta":
        assert own_main.main([*flags, "--device", device, "--out", device]) == 0
        assert own_predict.main([device, "--features", "features.csv", "--device", device, "--out", f"{device}.csv"]) == 0
    agree(tmp_path / "cpu", tmp_path / "meta")
    confidence = [pd.read_csv(f"{device}.csv")["confidence"] for device in ("cpu", "meta")]
    np.testing.assert_allclose(*confidence, atol=1e-3)
