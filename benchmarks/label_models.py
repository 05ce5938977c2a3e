"""Dawid-Skene on a million labels, beside crowd-kit's where that is installed, and on ten million to convergence; and the
label model on a million labels with a classifier's predictions.

    pip install crowd-kit && python3 benchmarks/label_models.py

Each runs in a process of its own; memory is what it adds to the process that holds the labels already.
"""
import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CLASSES, ITERATIONS = 10, 20
SIZES = {"million": (100_000, 10_000, 10), "ten-million": (1_000_000, 100_000, 10)}  # items, annotators, labels an item


def answers(size):
    """Three int arrays (L,), item, annotator and label, and the truth (N,): everybody has an accuracy of their own."""
    items, annotators, each = SIZES[size]
    random = np.random.default_rng(0)
    truth = random.integers(0, CLASSES, items)
    item = np.repeat(np.arange(items), each)
    annotator = ((random.integers(0, annotators, items)[:, None] + np.arange(each) * 7) % annotators).ravel()  # no one twice
    right = random.random(len(item)) < random.uniform(.3, .9, annotators)[annotator]
    return item, annotator, np.where(right, truth[item], random.integers(0, CLASSES, len(item))), truth


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(size, *how):
    import torch

    from common.crowd.dawid_skene import dawid_skene
    from common.crowd.labels import CrowdLabels
    item, annotator, label, truth = answers(size)
    crowd = CrowdLabels.from_triples(item, annotator, label, *SIZES[size][:2], CLASSES)
    torch.nn.functional.embedding_bag(torch.zeros(1, dtype=torch.long), torch.zeros(1, 1), torch.zeros(1, dtype=torch.long))
    before, started = peak_mb(), time.perf_counter()
    labels = dawid_skene(crowd, *how).argmax(1).numpy()
    return time.perf_counter() - started, peak_mb() - before, labels, truth


def label_model(size):
    from common.crowd.labels import CrowdLabels
    from common.output.crowd import Crowd
    item, annotator, label, truth = answers(size)
    crowd = CrowdLabels.from_triples(item, annotator, label, *SIZES[size][:2], CLASSES)
    random = np.random.default_rng(1)
    said = np.where(random.random(len(truth)) < .7, truth, random.integers(0, CLASSES, len(truth)))
    h = .4 / CLASSES + .6 * np.eye(CLASSES)[said]
    before, started = peak_mb(), time.perf_counter()
    labels = Crowd.of(crowd, h=h).labels.posterior.argmax(1)
    return time.perf_counter() - started, peak_mb() - before, labels, truth


def theirs(size):
    import pandas as pd
    from crowdkit.aggregation import DawidSkene
    item, annotator, label, truth = answers(size)
    table = pd.DataFrame({"task": item, "worker": annotator, "label": label})
    before, started = peak_mb(), time.perf_counter()
    labels = DawidSkene(n_iter=ITERATIONS, tol=-1).fit_predict(table)
    return time.perf_counter() - started, peak_mb() - before, labels.sort_index().to_numpy(), truth


RUNS = {"ours": lambda: ours("million", ITERATIONS, -1.), "crowd-kit": lambda: theirs("million"),
        "ten-million": lambda: ours("ten-million"), "label model": lambda: label_model("million")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", choices=RUNS, help="run one here, and write its labels to --labels")
    parser.add_argument("--labels", type=Path)
    options = parser.parse_args()
    if options.one:
        seconds, megabytes, labels, truth = RUNS[options.one]()
        right = 100 * (labels == truth).mean()
        print(f"{options.one:12} {seconds:7.2f} s  {megabytes:7.0f} MB  {right:.2f} % right", flush=True)
        if options.labels:
            np.save(options.labels, labels)
        return
    kept = {}
    for name in RUNS:
        file = Path(f".labels-{name}.npy")
        if subprocess.run([sys.executable, __file__, "--one", name, "--labels", file]).returncode == 0:
            kept[name] = np.load(file)
            file.unlink()
    if "crowd-kit" in kept:
        print(f"the same labels: {100 * (kept['ours'] == kept['crowd-kit']).mean():.3f} %")


if __name__ == "__main__":
    main()
