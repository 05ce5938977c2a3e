"""The data classifiers h."""
import torch
from torch import nn

from common import processes

OWN_NETWORKS = ("small", "four-conv", "vgg16")  # what --network may be besides torchvision's
AUXILIARY = ("googlenet", "inception_v3")  # of torchvision, with further outputs in training


class Classifier(nn.Module):
    """`body` takes inputs to features (B, F), `head` takes those to logits (B, C).

    precision: "bfloat16" runs the body under autocast; the head and all that follows stay in float32. ours: whether all
    random numbers within come from a Dropout of this module.
    """

    def __init__(self, body, head, precision="float32", ours=True):
        super().__init__()
        self.ours = ours
        self.body, self.head, self.precision = processes.with_whole_batch_norm(body), head, precision
        self.to(memory_format=torch.channels_last)

    def features(self, inputs):
        """float32 (B, F); in training each of several processes works out its share of the rows."""
        if self.training and processes.count() > 1:
            return processes.shared(self._features, inputs)
        return self._features(inputs)

    def _features(self, inputs):
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self.body(inputs).float()

    def forward(self, inputs):
        """Logits, float32 (B, C)."""
        return self.head(self.features(inputs))


class Dropout(nn.Dropout):
    """Dropout whose masks come from `generator` where there is one, the same as from torch's own with that seed. So networks
    can be trained side by side in threads."""
    generator = None

    def forward(self, inputs):
        if self.generator is None or not self.training:
            return super().forward(inputs)
        keep = 1 - self.p
        return inputs * torch.empty_like(inputs).bernoulli_(keep, generator=self.generator).div_(keep)


@torch.no_grad()
def multiplications(classifier, inputs):
    """How many multiplications the convolutions and linear layers of a Classifier take for inputs (B, ...)."""
    count = 0

    def add(layer, _, out):
        nonlocal count
        count += out.numel() * layer.weight[0].numel()
    hooks = [layer.register_forward_hook(add) for layer in classifier.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    training = classifier.training
    classifier.eval()(inputs)
    classifier.train(training)
    for hook in hooks:
        hook.remove()
    return count


def _convolution(channels, out):
    # no bias: the batch norm that follows would take it away again
    return [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


def vgg16(precision):
    """VGG-16 with batch norm for 32 x 32 RGB images, one linear layer 512-10."""
    layers, channels = [], 3
    for out in (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool"):
        if out == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += _convolution(channels, out)
            channels = out
    return Classifier(nn.Sequential(*layers, nn.Flatten()), nn.Linear(512, 10), precision)


def digits_net(precision):
    """Three convolutions for 8 x 8 grey images, one linear layer 256-10."""
    body = nn.Sequential(*_convolution(1, 32), *_convolution(32, 64), nn.MaxPool2d(2),
                         *_convolution(64, 64), nn.MaxPool2d(2), nn.Flatten(), Dropout(.5))
    return Classifier(body, nn.Linear(256, 10), precision)


def four_conv(precision):
    """For 150 x 150 images of three channels and two classes: four convolutions, 3136-128, dropout, 128-2.

    Each convolution is 3 x 3, unpadded, followed by ReLU and max-pool 2, the first by batch norm then. The pool comes
    before the ReLU here: the two commute, and it leaves the ReLU a quarter of the work.
    """
    layers, channels = [], 3
    for out in (32, 32, 64, 64):
        layers += [nn.Conv2d(channels, out, 3), nn.MaxPool2d(2), nn.ReLU(inplace=True)]
        channels = out
    layers.insert(3, nn.BatchNorm2d(32))
    body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), Dropout(.5))
    return Classifier(body, nn.Linear(128, 2), precision)


def feature_net(size, classes, precision):
    """For rows of `size` features: linear to 128, ReLU, dropout 0.5, linear to the classes."""
    return Classifier(nn.Sequential(nn.Linear(size, 128), nn.ReLU(), Dropout(.5)), nn.Linear(128, classes), precision)


# --- networks for anybody's items: `spec` is what a model's file says of its network ---------------------------------

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
            return Classifier(body, nn.Linear(_width(body, channels, size), classes), precision)
        flatten = next(k for k, layer in enumerate(body) if isinstance(layer, nn.Flatten))
        body[flatten + 1] = nn.Linear(_width(body[:flatten + 1], channels, size), 128)
        return Classifier(body, nn.Linear(128, classes), precision)
    body = _headless(name, transform_input=spec.get("transform_input", False))
    return Classifier(body, nn.Linear(_width(body, channels, size), classes), precision, ours=False)


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


def _width(body, channels, size):
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
    """The state dict of torchvision's own weights for a network; it fetches them where they are not there yet."""
    return _headless(name, "DEFAULT").state_dict()
