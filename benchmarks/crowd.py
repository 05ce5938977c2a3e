"""What the crowd costs: synthesis, votes, confusion matrices, EM and the aggregator, up to 100,000 annotators.

    python3 benchmarks/crowd.py [--device cpu]
"""
import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.crowd.labels import CrowdLabels, confusion_from, initial_weights, majority_vote, vote_shares
from common.crowd.synthetic import pair_experts, synthesize
from common.methods.crowd_layer import CrowdLayer
from common.methods.method import Batch, Setting
from common.networks.aggregator import Aggregator
from common.networks.classifier import Classifier
from common.system.device import choose_device, peak_memory_mb

CLASSES = 10


def clock(name, work, device, repeat=5):
    """Prints the best of `repeat` times, in milliseconds; returns work()'s result."""
    best = float("inf")
    for _ in range(repeat):
        started = time.perf_counter()
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    print(f"  {name:58}{1000 * best:10.2f} ms")
    return result


def random_crowd(items, annotators, labels_per_item, device):
    """CrowdLabels: each item labelled by random annotators, seven times of ten with its class."""
    random = np.random.default_rng(0)
    count = items * labels_per_item
    truth = np.repeat(np.arange(items) % CLASSES, labels_per_item)
    label = np.where(random.random(count) < .7, truth, random.integers(0, CLASSES, count))
    offsets = torch.arange(0, count + 1, labels_per_item)
    return CrowdLabels(torch.from_numpy(random.integers(0, annotators, count, np.int32)),
                       torch.from_numpy(label.astype(np.int32)), offsets, annotators, CLASSES).to(device)


def aggregator_step(crowd, batch, device):
    """Forward and backward of g on the first `batch` items."""
    aggregator = Aggregator(initial_weights(crowd, vote_shares(crowd), 1e-4))
    few = crowd.select(torch.arange(batch, device=device))
    log_prior = torch.full((CLASSES,), -np.log(CLASSES), device=device)

    def step():
        aggregator.table.grad = None
        aggregator(few, log_prior).square().sum().backward()
    return step


def crowd_layer_step(crowd, batch, device):
    """Forward and backward of Crowd Layer's matrices and loss on the logits of the first `batch` items."""
    setting = Setting(lambda: Classifier(nn.Identity(), nn.Linear(1, CLASSES)), crowd, None,
                      torch.full((CLASSES,), 1 / CLASSES))
    method = CrowdLayer(setting).to(device)
    items = torch.arange(batch, device=device)
    few = Batch(items, None, crowd.select(items))
    logits = torch.randn(batch, CLASSES, device=device, requires_grad=True)

    def step():
        method.matrices.grad = logits.grad = None
        method.loss_from(logits, few).backward()
    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device")
    device = choose_device(parser.parse_args().device)
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}; best of five\n")

    truth = np.arange(50_000) % CLASSES
    experts = pair_experts(((0, 1), (2, 3), (4, 5), (6, 7), (8, 9)))[0]
    print("50,000 items, 10 annotators, 500,000 labels")
    crowd = clock("synthesis", lambda: synthesize(truth, experts, 1, 1234), device).to(device)
    clock("majority vote", lambda: majority_vote(crowd), device)
    clock("initial confusion matrices", lambda: initial_weights(crowd, vote_shares(crowd), 1e-4), device)
    posterior, h = vote_shares(crowd), torch.full((len(crowd), CLASSES), 1 / CLASSES, device=device)
    pi = clock("EM: M-step, pi from q", lambda: confusion_from(crowd, posterior), device)
    clock("EM: E-step, q from pi", lambda: posterior(crowd, pi, h), device)
    clock("an epoch's batches of 64, in a random order",
          lambda: list(crowd.select(torch.randperm(len(crowd), device=device)).batches(64)), device)

    print("\nforward and backward, a batch of 64 items")
    for name, make_step in (("aggregator", aggregator_step), ("Crowd Layer", crowd_layer_step)):
        for annotators, per_item in ((1, 1), (1, 3), (59, 3), (2_567, 3), (2_567, 50)):
            small = random_crowd(1_000, annotators, per_item, device)
            what = f"{name}, {annotators} annotators, {per_item} labels an item"
            clock(what, make_step(small, 64, device), device, 50)

    before = peak_memory_mb(device)
    print(f"\n1,000,000 items, 100,000 annotators, 10,000,000 labels (so far {before:.0f} MB at most)")
    crowd = random_crowd(1_000_000, 100_000, 10, device)
    print(f"  the labels themselves: {(crowd.annotator.nbytes + crowd.label.nbytes + crowd.offsets.nbytes) / 1e6:.0f} MB; "
          f"peak after making them {peak_memory_mb(device):.0f} MB")
    clock("majority vote", lambda: majority_vote(crowd), device, 2)
    clock("initial confusion matrices", lambda: initial_weights(crowd, vote_shares(crowd), 1e-4), device, 2)
    posterior, h = vote_shares(crowd), torch.full((len(crowd), CLASSES), 1 / CLASSES, device=device)
    pi = clock("EM: M-step, pi from q", lambda: confusion_from(crowd, posterior), device, 2)
    clock("EM: E-step, q from pi", lambda: posterior(crowd, pi, h), device, 2)
    clock("aggregator, forward and backward, a batch of 64 items", aggregator_step(crowd, 64, device), device)
    print(f"  peak memory of the process: {peak_memory_mb(device):.0f} MB")


if __name__ == "__main__":
    main()
