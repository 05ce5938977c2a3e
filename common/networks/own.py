"""Networks for anybody's items."""
import torch
from torch import nn

from common.names import LITE0, OWN_NETWORKS, TIMM
from common.networks.backbones import EfficientNetLite0, lite0_weights, timm_body
from common.networks.classifier import Classifier, Dropout
from common.networks.papers import _convolution, feature_net, four_conv, vgg16

AUXILIARY = ("googlenet", "inception_v3")  # of torchvision, with further outputs in training

SMALL_WIDTHS = (32, 48, 64, 96, *[128] * 20)


class Quarters(nn.AdaptiveAvgPool2d):
    """The means of an image's four quarters, which share the middle row and column where sides are odd: (B, K, 2, 2).

    torch's own has a gradient on a GPU that is not the same every time.
    """

    def __init__(self):
        super().__init__(2)

    def forward(self, x):
        return super().forward(x) if x.device.type == "cpu" else self.by_parts(x)

    @staticmethod
    def by_parts(x):
        height, width = x.shape[2:]
        rows = x[:, :, :(height + 1) // 2], x[:, :, height // 2:]
        parts = [part for row in rows for part in (row[..., :(width + 1) // 2], row[..., width // 2:])]
        return torch.stack([part.mean((2, 3)) for part in parts], 2).unflatten(2, (2, 2))


def small(channels, size):
    """(body, width): a convolution and a pool for each halving of a square image of any size, until 2 to 6 pixels are left;
    from 48 pixels on the first convolution steps by two and halves twice with its pool, as in a ResNet."""
    *widths, last = SMALL_WIDTHS[:max(1, size.bit_length() - 2)]
    layers = []
    if size >= 48:
        first, _, *widths = widths
        layers += [nn.Conv2d(channels, first, 5, 2, 2, bias=False), nn.BatchNorm2d(first), nn.ReLU(inplace=True),
                   nn.MaxPool2d(2)]
        channels = first
    for out in widths:
        layers += [*_convolution(channels, out), nn.MaxPool2d(2)]
        channels = out
    layers += _convolution(channels, last)
    return nn.Sequential(*layers, Quarters(), nn.Flatten(), Dropout(.5)), 4 * last


def network_names():
    """What --network may be for images."""
    from torchvision import models
    return [*OWN_NETWORKS, *models.list_models(module=models)]


def build(spec, precision="float32"):
    """The Classifier of a spec: {"name", "classes", and "features", or "channels" and "size"}, and "transform_input" where
    torchvision's network scales its inputs for its own weights. Raises ValueError for one that cannot take such images."""
    classes = spec["classes"]
    if "features" in spec:
        return feature_net(spec["features"], classes, precision)
    name, channels, size = spec["name"], spec["channels"], spec["size"]
    if name == "small":
        body, width = small(channels, size)
        return Classifier(body, nn.Linear(width, classes), precision)
    if name in ("four-conv", "vgg16"):
        body = (four_conv if name == "four-conv" else vgg16)("float32").body
        if channels == 1:
            first = body[0]
            body[0] = nn.Conv2d(1, first.out_channels, first.kernel_size, padding=first.padding, bias=first.bias is not None)
        if name == "vgg16":
            body.insert(len(body) - 1, nn.AdaptiveAvgPool2d(1))
            return Classifier(body, nn.Linear(width_of(body, channels, size), classes), precision)
        flatten = next(k for k, layer in enumerate(body) if isinstance(layer, nn.Flatten))
        body[flatten + 1] = nn.Linear(width_of(body[:flatten + 1], channels, size), 128)
        return Classifier(body, nn.Linear(128, classes), precision)
    body = body_of(name, spec.get("transform_input", False))
    return Classifier(body, nn.Linear(width_of(body, channels, size), classes), precision, seeded=name == LITE0)


def body_of(name, transform_input=False):
    """A network without its last linear layer: efficientnet-lite0, timm's as timm/NAME, or torchvision's."""
    if name == LITE0:
        return EfficientNetLite0()
    return timm_body(name.removeprefix(TIMM)) if name.startswith(TIMM) else _headless(name, None, transform_input)


def _headless(name, weights=None, transform_input=False):
    """torchvision's network of that name without its last linear layer."""
    from torchvision import models
    more = {}
    if name in AUXILIARY and not weights:
        more = {"aux_logits": False, "init_weights": True, "transform_input": transform_input}
    body = models.get_model(name, weights=weights, **more)
    last = [path for path, layer in body.named_modules() if isinstance(layer, nn.Linear)]
    if last:
        body.set_submodule(last[-1], nn.Identity())
    return body


def width_of(body, channels, size):
    """How many features a body makes of an image."""
    training = body.training
    body.eval()
    try:
        with torch.no_grad():
            out = body(torch.zeros(1, channels, size, size))
    except (RuntimeError, ZeroDivisionError, AssertionError, ValueError) as error:
        raise ValueError(f"cannot take images of {size} x {size} pixels ({str(error).splitlines()[0][:120]})") from None
    body.train(training)
    if not isinstance(out, torch.Tensor) or out.dim() != 2:
        raise ValueError("does not end in a linear layer")
    return out.shape[1]


def load_weights(body, state):
    """Puts a state dict's tensors into a body, under the names that the two share. Returns how many, and of how many."""
    own = body.state_dict()
    shared = {name: state[name] for name in own if name in state and state[name].shape == own[name].shape}
    body.load_state_dict(shared, strict=False)
    return len(shared), len(own)


def pretrained(name):
    """The state dict of a body with its own pretrained weights; torchvision and timm fetch them where they are not there
    yet."""
    if name == LITE0:
        return lite0_weights()
    if name.startswith(TIMM):
        return timm_body(name.removeprefix(TIMM), pretrained=True).state_dict()
    return _headless(name, "DEFAULT").state_dict()
