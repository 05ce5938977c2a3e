"""What each step of the four-convolution network's speed gave, augmentation included, on random 150 x 150 images.

    python3 benchmarks/four_conv.py [--batch-size 16] [--steps 20] [--rounds 5] [--unsettled]

The variants take turns, so that all meet the same machine; the median round counts. --unsettled: the C library gives the
memory of a step back, as it does by default.
"""
import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.data.images import IMAGENET, Augmentation, ImageSet
from common.networks.classifier import Classifier
from common.networks.papers import four_conv
from common.system.device import settle


def relu_first(precision):
    """The network in the paper's order, ReLU before the pool."""
    classifier = four_conv(precision)
    body = list(classifier.body)
    for k, module in enumerate(body[:-1]):
        if isinstance(module, nn.MaxPool2d):
            body[k], body[k + 1] = body[k + 1], body[k]
    return Classifier(nn.Sequential(*body), classifier.head, precision)


def plain_nchw(precision):
    """The paper's order, weights and images channel by channel."""
    return relu_first(precision).to(memory_format=torch.contiguous_format)


def stepper(classifier, images, batch, augment, nchw=False):
    optimizer = torch.optim.Adam(classifier.parameters(), 1e-4, fused=True)
    truth = torch.arange(batch) % 2
    generator = torch.Generator().manual_seed(0)

    def step():
        items = torch.randint(0, len(images), (batch,), generator=generator)
        inputs = images.batch(items, images.draw(generator)[items] if augment else None)
        loss = functional.cross_entropy(classifier(inputs.contiguous() if nchw else inputs), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--unsettled", action="store_true")
    arguments = parser.parse_args()
    batch = arguments.batch_size
    if not arguments.unsettled:
        settle(torch.device("cpu"))
    images = ImageSet(torch.randint(0, 256, (256, 150, 150, 3), dtype=torch.uint8), *IMAGENET, Augmentation(True, 45))
    first = Classifier(nn.Sequential(nn.Conv2d(3, 32, 3), nn.MaxPool2d(2), nn.AvgPool2d(74), nn.Flatten()),
                       nn.Linear(32, 2), "bfloat16")
    no_pool = four_conv("bfloat16")
    no_pool.body[1] = nn.AvgPool2d(1, 2)  # takes every other pixel: what is left is the cost without the maximum
    variants = {
        "float32, NCHW": stepper(plain_nchw("float32"), images, batch, True, nchw=True),
        "float32, channels last": stepper(relu_first("float32"), images, batch, True),
        "bfloat16, NCHW": stepper(plain_nchw("bfloat16"), images, batch, True, nchw=True),
        "bfloat16, channels last": stepper(relu_first("bfloat16"), images, batch, True),
        "and the pool before the ReLU (ours)": stepper(four_conv("bfloat16"), images, batch, True),
        "ours without augmentation": stepper(four_conv("bfloat16"), images, batch, False),
        "ours without the first maximum": stepper(no_pool, images, batch, True),
        "the first convolution and pool alone": stepper(first, images, batch, False),
    }
    spent = {name: [] for name in variants}
    for step in variants.values():
        step()
    for _ in range(arguments.rounds):
        for name, step in variants.items():
            started = time.perf_counter()
            for _ in range(arguments.steps):
                step()
            spent[name].append((time.perf_counter() - started) / arguments.steps)
    print(f"batches of {batch}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    plain = statistics.median(spent["float32, NCHW"])
    for name, seconds in spent.items():
        median = statistics.median(seconds)
        print(f"{name:38}{batch / median:8.1f} images/s{1000 * median:8.1f} ms a step{plain / median:7.2f} times the first")


if __name__ == "__main__":
    main()
