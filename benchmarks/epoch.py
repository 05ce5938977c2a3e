"""Images per second of each method's training loop against a bare step of the same network, on random images.

    python3 benchmarks/epoch.py [--network vgg16|digits_net] [--batch-size 64] [--steps 12] [--rounds 5] [--device cpu]

A bare step is forward, cross-entropy, backward and Adam on one batch that lies ready. Rounds of bare and method steps
take turns, so that both meet the same machine; the median round counts.
"""
import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.crowd.synthetic import pair_experts, synthesize
from common.data.dataset import Dataset, Items
from common.data.images import ImageSet
from common.names import SYNTHESIZED_METHODS
from common.networks import papers
from common.system.device import choose_device, choose_precision
from common.training.loop import train_epoch
from common.training.options import Options
from common.training.protocol import Protocol
from common.training.selection import make_plan
from common.training.stages import build_stage

SHAPES = {"vgg16": (32, 32, 3), "digits_net": (8, 8, 1)}


def random_dataset(shape, count):
    """A Dataset of random images with the CIFAR-10 crowd of case 2, high expertise."""
    truth = torch.arange(count) % 10
    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8)
    experts = pair_experts(((0, 1), (2, 3), (4, 5), (6, 7), (8, 9)))[1]
    items = Items(ImageSet(images, (.5,) * shape[2], (.25,) * shape[2]), truth, list(range(count)),
                  synthesize(truth.numpy(), experts, 2, 1234))
    return Dataset(items, items, list(range(10)), list(range(10)))


def seconds(device, work):
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def bare_step(network, inputs, truth, device):
    classifier = network.to(device)
    optimizer = torch.optim.Adam(classifier.parameters(), 1e-3, fused=device.type in ("cpu", "cuda"))

    def step():
        loss = functional.cross_entropy(classifier(inputs), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return step


def matrix_rate(device, precision, size=2048):
    """Floating-point operations per second of a large matrix product."""
    a, b = (torch.randn(size, size, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    a @ b
    return 2 * size**3 / min(seconds(device, lambda: a @ b) for _ in range(5))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=SHAPES, default="vgg16")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    batch, steps, network = arguments.batch_size, arguments.steps, getattr(papers, arguments.network)
    dataset = random_dataset(SHAPES[arguments.network], batch * steps)
    train = dataset.train.to(device)
    dataset = Dataset(train, train, dataset.class_names, dataset.annotator_names)
    inputs, truth = train.inputs.batch(torch.arange(batch)), train.truth[:batch]
    print(f"{arguments.network}, batches of {batch}, {steps} steps a round, {arguments.rounds} rounds; {device}, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}\n")

    rates = {}
    for precision in ("float32", "bfloat16"):
        step = bare_step(network(precision), inputs, truth, device)
        with FlopCounterMode(display=False) as counter:
            step()
        step()
        spent = statistics.median(seconds(device, step) for _ in range(steps))
        rates[precision] = batch / spent
        product, done = matrix_rate(device, precision), counter.get_total_flops() / spent
        print(f"{precision:9} bare step: {rates[precision]:8.1f} images/s, {done / 1e9:7.1f} GFLOP/s, "
              f"{100 * done / product:4.1f} % of a 2048^3 matrix product's {product / 1e9:.1f} GFLOP/s")
    print(f"bfloat16 is {rates['bfloat16'] / rates['float32']:.2f} times as fast as float32\n")

    precision = choose_precision("auto", device)
    protocol = Protocol("benchmark", network, 1, batch, 1e-3, 1e-4, (.1,) * 10, SYNTHESIZED_METHODS,
                        crowd_layer_start="aggregator")
    options = Options(methods=list(SYNTHESIZED_METHODS), batch_size=batch, epochs=1, augment="none")
    step = bare_step(network(precision), inputs, truth, device)

    def bare_round():
        for _ in range(steps):
            step()
    print(f"{precision}; the loop's epoch against the bare step\n{'method':15}{'images/s':>10}{'bare':>10}{'on top':>9}")
    folds = make_plan(train, options).folds
    for learner in build_stage(0, [], dataset, protocol, options, device, precision, folds):
        def epoch(learner=learner):
            train_epoch([learner], train, folds[0], 1, options)
        bare_round(), epoch()
        pairs = [(seconds(device, bare_round), seconds(device, epoch)) for _ in range(arguments.rounds)]
        bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(ours / bare for bare, ours in pairs)
        print(f"{learner.name:15}{batch * steps / ours:10.1f}{batch * steps / bare:10.1f}{100 * (ratio - 1):8.1f}%")


if __name__ == "__main__":
    main()
