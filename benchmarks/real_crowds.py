"""Labels from real answers alone: are they right, are they sure of it for good reason, and what does one more answer gain?

    pip install crowd-kit && python3 benchmarks/real_crowds.py FOLDER ... [--next]

Each FOLDER holds answers.csv (task,worker,label) and truth.csv (task,label). Without --next: accuracy, calibration error (15
bins) and seconds of labels.csv beside crowd-kit's label models in the same run, and the share of annotators with 20
labels or more whose 95 % interval holds their true accuracy. With --next: half of each item's answers are hidden; 5 % of
the hidden ones are revealed a round, to the items with the largest expected gain or at random; accuracy after each round,
ten seeds.
"""
import argparse
import contextlib
import io
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import torch

from common.crowd.annotators import expected_gain, pooled_confusion
from common.crowd.bayes import LabelModel
from common.evaluation.metrics import accuracy, calibration_error
from OwnData import aggregate, own_data

LARGE = 20_000  # answers from which GLAD and MACE are left out: they take many minutes
ROUNDS, SEEDS = 8, 10


def rivals():
    """{name: a label model of crowd-kit}."""
    from crowdkit.aggregation import GLAD, MACE, DawidSkene, MajorityVote, OneCoinDawidSkene
    return {"majority vote": MajorityVote(), "Dawid-Skene": DawidSkene(100), "GLAD": GLAD(50, silent=True),
            "MACE": MACE(random_state=0), "one-coin": OneCoinDawidSkene(100)}


def compare(folder):
    """A row of the table: [text]."""
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = own_data.load_answers(str(folder / "answers.csv"), str(folder / "truth.csv"))
        started = time.perf_counter()
        found = aggregate(str(folder / "answers.csv"), truth=str(folder / "truth.csv"))
        seconds = time.perf_counter() - started
    crowd, truth = dataset.train.crowd, dataset.train.truth
    table = pd.DataFrame({"task": crowd.item.numpy(), "worker": crowd.annotator.numpy(), "label": crowd.label.numpy()})
    cells = [f"{100 * found.summary['label_accuracy']:.1f}, {100 * found.summary['calibration_error']:.1f}, {seconds:.1f} s"]
    numbers = [found.summary["label_accuracy"], found.summary["calibration_error"]]
    for name, model in rivals().items():
        if len(table) > LARGE and name in ("GLAD", "MACE"):
            cells.append("")
            numbers += [np.nan, np.nan]
            continue
        started = time.perf_counter()
        model.fit(table)
        seconds = time.perf_counter() - started
        sure = model.probas_.reindex(index=range(len(truth)), columns=range(crowd.classes)).fillna(0).to_numpy()
        posterior = torch.from_numpy(sure.copy())
        numbers += [accuracy(posterior.argmax(1), truth), calibration_error(posterior, truth)]
        cells.append(f"{100 * numbers[-2]:.1f}, {100 * numbers[-1]:.1f}, {seconds:.1f} s")
    people = found.annotators[found.annotators["labels"] >= 20].dropna(subset="true_accuracy")
    held = (people["accuracy_low"] <= people["true_accuracy"]) & (people["true_accuracy"] <= people["accuracy_high"])
    whole = (truth >= 0).double().mean() > .99
    cells += [f"{100 * held.mean():.0f} % of {len(held)}" if whole else "", str(found.summary["flags"].get("copies", 0))]
    return cells, numbers, (held.sum(), len(held)) if whole else (0, 0)


def reveal(folder, by_gain, seed):
    """[accuracy after each round] of one order in which hidden answers are revealed."""
    with contextlib.redirect_stdout(io.StringIO()):
        train = own_data.load_answers(str(folder / "answers.csv"), str(folder / "truth.csv")).train
    crowd, random = train.crowd, np.random.default_rng(seed)
    item = crowd.item.numpy()
    order = np.lexsort((random.random(len(item)), item))
    place = np.arange(len(item)) - crowd.offsets.numpy()[item[order]]
    shown = np.zeros(len(item), bool)
    shown[order] = place < np.maximum(np.diff(crowd.offsets.numpy())[item[order]] // 2, 1)
    hidden = np.flatnonzero(~shown)
    found = []
    for _ in range(ROUNDS + 1):
        model = LabelModel(crowd.keep(torch.from_numpy(shown)))
        labels = model.posterior()
        found.append(accuracy(torch.from_numpy(labels.posterior.argmax(1)), train.truth))
        left = hidden[~shown[hidden]]
        count = min(round(.05 * len(hidden)), len(left))
        chance = random.random(len(left))
        gain = expected_gain(labels.posterior, pooled_confusion(model, labels))[item[left]] if by_gain else chance
        # one answer an item first: a second one is asked for when the first is known
        first = np.lexsort((chance, item[left]))
        again = np.zeros(len(left), bool)
        again[first[1:]] = item[left][first[1:]] == item[left][first[:-1]]
        shown[left[np.lexsort((-gain, again & by_gain))[:count]]] = True
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--next", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.next:
        print("| accuracy after answers revealed | " + " | ".join(f"{5 * k} %" for k in range(ROUNDS + 1)) + " |")
        print("| --- |" + " --- |" * (ROUNDS + 1))
        for folder in options.folders:
            for name, by_gain in (("by gain", True), ("at random", False)):
                mean = np.mean([reveal(folder, by_gain, seed) for seed in range(SEEDS)], 0)
                print(f"| {folder.name}, {name} | " + " | ".join(f"{100 * value:.1f}" for value in mean) + " |", flush=True)
        return
    print("| accuracy %, calibration error, seconds | labels.csv | " + " | ".join(rivals()) + " | intervals hold | copies |")
    print("| --- |" + " --- |" * (len(rivals()) + 3))
    rows, inside = [], []
    for folder in options.folders:
        cells, numbers, held = compare(folder)
        rows.append(numbers)
        inside.append(held)
        print("| " + " | ".join([folder.name, *cells]) + " |", flush=True)
    mean, held = np.nanmean(rows, 0), np.sum(inside, 0)
    cells = [f"{100 * right:.2f}, {100 * error:.1f}" for right, error in zip(mean[::2], mean[1::2], strict=True)]
    print("| " + " | ".join(["mean", *cells, f"{100 * held[0] / max(held[1], 1):.0f} % of {held[1]}", ""]) + " |")


if __name__ == "__main__":
    main()
