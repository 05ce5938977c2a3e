"""Sizes and types of the classifiers."""
import pytest
import torch

from common.networks import digits_net, four_conv, vgg16
from common.training.device import choose_device, choose_precision


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
    from common.errors import UserError
    with pytest.raises(UserError, match="--device toaster"):
        choose_device("toaster")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {'AB'[index]}")
    assert choose_device("1") == torch.device("cuda", 1)
    with pytest.raises(UserError, match=r"--device 7: there is no such GPU, there is 0 \(GPU A\), 1 \(GPU B\)"):
        choose_device("7")
