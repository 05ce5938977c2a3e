"""Sizes and types of the classifiers, and what they run on."""
import os
import platform
import subprocess
import sys

import pytest
import torch

from common.data.dataset import prediction_batch
from common.data.features import FeatureSet
from common.data.images import ImageSet
from common.networks.own import Quarters
from common.networks.papers import digits_net, four_conv, vgg16
from common.system.device import choose_device, choose_precision, seed_generators, settle
from conftest import ROOT


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("network", "shape", "features", "classes"), [
    (vgg16, (3, 32, 32), 512, 10), (digits_net, (1, 8, 8), 256, 10), (four_conv, (3, 150, 150), 128, 2)])
def test_shapes(network, shape, features, classes, precision):
    classifier = network(precision)
    inputs = torch.randn(4, *shape)
    assert classifier.features(inputs).shape == (4, features)
    assert classifier(inputs).shape == (4, classes) and classifier(inputs).dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in classifier.parameters())


def test_four_conv_is_that_of_the_paper():
    """The same weights in the paper's order: convolution, ReLU, pool, and batch norm after the first pool."""
    ours = four_conv("float32").eval()
    body, relu = list(ours.body), torch.nn.ReLU()
    convolutions = [m for m in body if isinstance(m, torch.nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.padding) for m in convolutions] == [
        (3, 32, (0, 0)), (32, 32, (0, 0)), (32, 64, (0, 0)), (64, 64, (0, 0))]
    inputs = torch.randn(2, 3, 150, 150)
    x = inputs
    for k, convolution in enumerate(convolutions):
        x = torch.nn.functional.max_pool2d(relu(convolution(x)), 2)
        x = next(m for m in body if isinstance(m, torch.nn.BatchNorm2d))(x) if k == 0 else x
    first = next(m for m in body if isinstance(m, torch.nn.Linear))
    assert first.in_features == 3136 and any(isinstance(m, torch.nn.Dropout) and m.p == .5 for m in body)
    torch.testing.assert_close(ours(inputs), ours.head(relu(first(x.flatten(1)))))


def test_vgg16_is_vgg16():
    convolutions = [m for m in vgg16("float32").modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 13
    # 3x3 kernels of the published configuration, two numbers of batch norm for each channel, the linear layer
    sizes = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 512), *[(512, 512)] * 5]
    expected = sum(9 * a * b + 2 * b for a, b in sizes) + 512 * 10 + 10
    assert sum(p.numel() for p in vgg16("float32").parameters()) == expected


def test_bfloat16_is_what_the_body_computes_in():
    inputs = torch.randn(4, 1, 8, 8)
    torch.manual_seed(0)
    low = digits_net("bfloat16").eval()
    torch.manual_seed(0)
    high = digits_net("float32").eval()
    features = low.features(inputs)
    assert torch.equal(features, features.bfloat16().float())  # rounded to eight bits
    assert not torch.equal(features, high.features(inputs))
    torch.testing.assert_close(features, high.features(inputs), rtol=.1, atol=.02)


def test_device_and_precision_of_a_machine_without_cuda(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(None).type == "cpu" and capsys.readouterr().out == ""
    assert choose_device("0").type == "cpu"
    assert capsys.readouterr().out == "--device 0: no CUDA here, running on the CPU\n"
    assert choose_precision("float32", torch.device("cpu")) == "float32"
    assert choose_precision("bfloat16", torch.device("cpu")) == "bfloat16"
    for flags, expected in (("fpu avx2", "float32"), ("fpu avx512_bf16 sse", "bfloat16"), ("amx_bf16", "bfloat16")):
        monkeypatch.setattr("pathlib.Path.exists", lambda path: True)
        monkeypatch.setattr("pathlib.Path.read_text", lambda path, flags=flags: f"flags : {flags}\n")
        assert choose_precision("auto", torch.device("cpu")) == expected


def test_devices_that_do_not_exist(monkeypatch):
    from common.system.errors import UserError
    with pytest.raises(UserError, match="--device toaster"):
        choose_device("toaster")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {'AB'[index]}")
    assert choose_device("1") == torch.device("cuda", 1)
    with pytest.raises(UserError, match=r"--device 7: there is no such GPU, there is 0 \(GPU A\), 1 \(GPU B\)"):
        choose_device("7")


def test_a_gpu_is_made_the_current_one_and_repeatable(monkeypatch):
    """Every switch is seen to be turned, without a GPU; a CPU turns none."""
    matmul, cudnn, made_current = torch.backends.cuda.matmul, torch.backends.cudnn, []
    switches = [(cudnn, "deterministic", True), (cudnn, "benchmark", False), (cudnn, "allow_tf32", False),
                (matmul, "allow_tf32", False), (torch.utils.deterministic, "fill_uninitialized_memory", False)]
    monkeypatch.setattr(torch.cuda, "set_device", made_current.append)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = [getattr(owner, name) for owner, name, _ in switches]
    try:
        for owner, name, value in switches:
            setattr(owner, name, not value)
        settle(torch.device("cpu"))
        assert not made_current and not torch.are_deterministic_algorithms_enabled()
        assert all(getattr(owner, name) != value for owner, name, value in switches)
        settle(torch.device("cuda", 1))
        assert made_current == [torch.device("cuda", 1)] and torch.are_deterministic_algorithms_enabled()
        assert all(getattr(owner, name) == value for owner, name, value in switches)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no mallopt")
def test_a_cpu_keeps_the_memory_of_a_step():
    """In a process of its own, which makes and frees large tensors over and over: `settle` has the C library take both
    settings, and then no page is touched for the first time, where by itself it gives back more or less of them."""
    text = """
import ctypes, resource, torch
from common.system.device import settle

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        tensors = [torch.zeros(40 * 2**20, dtype=torch.uint8) for _ in range(4)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

taken, library = [], ctypes.CDLL(None)
class Library:
    def __init__(self, name):
        pass
    def mallopt(self, *arguments):
        taken.append(library.mallopt(*arguments))
ctypes.CDLL = Library
settle(torch.device("cpu"))
faults()
print(*taken, faults())
"""
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True)
    *taken, faults = map(int, done.stdout.split())
    assert taken == [1, 1] and faults < 10_000  # of 200,000


def test_the_generators_are_seeded_as_by_manual_seed():
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.rand(1)
    seed_generators(5, torch.device("cpu"))
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(("shape", "at_once"), [((512,), 1024), ((25_088,), 125), ((10**6,), 64), ((0,), 1024)])
def test_rows_are_predicted_so_many_at_once_as_fit(shape, at_once):
    assert prediction_batch(FeatureSet(torch.zeros(3, *shape))) == at_once
    assert prediction_batch(FeatureSet(torch.zeros(0, *shape))) == at_once


def test_images_are_predicted_in_batches_of_their_device():
    for side, at_once in ((8, 64), (32, 64), (64, 64), (96, 37), (150, 16)):
        images = ImageSet(torch.zeros(2, side, side, 3, dtype=torch.uint8), (.5,) * 3, (.25,) * 3)
        assert prediction_batch(images) == at_once
    for side, at_once in ((8, 1024), (32, 1024), (64, 256), (150, 64)):  # on a GPU, which "meta" stands for here
        images = ImageSet(torch.zeros(2, side, side, 3, dtype=torch.uint8, device="meta"), (.5,) * 3, (.25,) * 3)
        assert prediction_batch(images) == at_once


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 5), (6, 7)])
def test_quarters_are_the_adaptive_pool_on_any_device(shape):
    inputs = torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    pool = Quarters()
    expected = torch.nn.functional.adaptive_avg_pool2d(inputs, 2)
    assert torch.equal(pool(inputs), expected)
    torch.testing.assert_close(pool.by_parts(inputs), expected)
    weights = torch.arange(24.).view(2, 3, 2, 2)
    gradients = [torch.autograd.grad((p(inputs) * weights).sum(), inputs)[0] for p in (pool, pool.by_parts)]
    torch.testing.assert_close(*gradients)
