"""The data classifier h: a body and a linear head."""
import torch
from torch import nn

from common.system import processes


class Classifier(nn.Module):
    """`body` takes inputs to features (B, F), `head` takes those to logits (B, C).

    precision: "bfloat16" runs the body under autocast; the head and all that follows stay in float32. seeded: whether all
    random numbers within come from a Dropout of this module.
    """

    def __init__(self, body, head, precision="float32", seeded=True):
        super().__init__()
        self.seeded = seeded
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
    """How many multiplications the convolutions and linear layers of a Classifier take for inputs (B, ...).

    torch.utils.flop_counter counts them too, but its first use takes seconds.
    """
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
