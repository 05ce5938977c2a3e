"""Labels from real answers alone: are they right, are they sure of it for good reason, and what does one more answer gain?

    pip install crowd-kit && python3 benchmarks/real_crowds.py FOLDER ... [--small | --parts | --next]

Each FOLDER holds answers.csv (task,worker,label) and truth.csv (task,label). It gives accuracy, calibration error (15
bins) and seconds of labels.csv beside crowd-kit's label models in the same run, and the share of annotators with 20
labels or more whose 95 % interval holds their true accuracy.

With --small: small crowds of real people, ten draws of each FOLDER. Eight of the sixteen annotators with the most answers,
100 items of known truth with two to five of their answers each; accuracy, calibration error, and how many annotators are
called copies.

With --parts: the same of the answers of the 3 to 20 annotators with the most of them, and of random halves and quarters of
all.

With --next: half of each item's answers are hidden; 5 % of the hidden ones are revealed a round, to the items with the
largest expected gain or at random; accuracy after each round, ten seeds.
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
from common.crowd.fitted import FittedCrowd
from common.crowd.labels import CrowdLabels
from common.evaluation.metrics import accuracy, calibration_error
from OwnData import aggregate, own_data

SLOW, LARGE = ("GLAD", "MACE"), 20_000  # answers from which these take many minutes and are left out
ROUNDS, SEEDS = 8, 10
PEOPLE, ITEMS, LEAST, MOST = 8, 100, 2, 5  # of a small crowd; LEAST and MOST: answers of an item
BUSIEST, SHARES, DRAWS = (3, 4, 5, 6, 8, 12, 20), (2, 4), 4  # the annotators of parts of a crowd


def rivals(slow=True):
    """{name: a label model of crowd-kit}; slow: with those that take minutes on many answers."""
    from crowdkit.aggregation import GLAD, MACE, DawidSkene, MajorityVote, OneCoinDawidSkene
    models = {"majority vote": MajorityVote(), "Dawid-Skene": DawidSkene(100), "GLAD": GLAD(50, silent=True),
              "MACE": MACE(random_state=0), "one-coin": OneCoinDawidSkene(100)}
    return {name: model for name, model in models.items() if slow or name not in SLOW}


def load(folder):
    """(CrowdLabels, truth (N,), -1 where it is not known) of a folder."""
    with contextlib.redirect_stdout(io.StringIO()):
        train = own_data.load_answers(str(folder / "answers.csv"), str(folder / "truth.csv")).train
    return train.crowd, train.truth


def measure(posterior, truth):
    """[accuracy, calibration error] of a posterior (N, C), a NumPy array."""
    posterior = torch.from_numpy(posterior)
    return [accuracy(posterior.argmax(1), truth), calibration_error(posterior, truth)]


def rate(model, crowd, truth):
    """[accuracy, calibration error] of a label model of crowd-kit."""
    model.fit(pd.DataFrame({"task": crowd.item.numpy(), "worker": crowd.annotator.numpy(), "label": crowd.label.numpy()}))
    posterior = model.probas_.reindex(index=range(len(truth)), columns=range(crowd.classes)).fillna(0).to_numpy()
    return measure(posterior.copy(), truth)


def cell(numbers):
    return f"{100 * numbers[0]:.1f}, {100 * numbers[1]:.1f}"


def compare(folder):
    """A row of the table: [text], [number], (intervals that hold, all)."""
    crowd, truth = load(folder)
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        found = aggregate(str(folder / "answers.csv"), truth=str(folder / "truth.csv"))
    numbers = [found.summary["label_accuracy"], found.summary["calibration_error"]]
    cells = [f"{cell(numbers)}, {time.perf_counter() - started:.1f} s"]
    for name, model in rivals().items():
        if len(crowd.label) > LARGE and name in SLOW:
            cells.append("")
            numbers += [np.nan, np.nan]
            continue
        started = time.perf_counter()
        numbers += rate(model, crowd, truth)
        cells.append(f"{cell(numbers[-2:])}, {time.perf_counter() - started:.1f} s")
    people = found.annotators[found.annotators["labels"] >= 20].dropna(subset="true_accuracy")
    held = (people["accuracy_low"] <= people["true_accuracy"]) & (people["true_accuracy"] <= people["accuracy_high"])
    whole = len(people) and (truth >= 0).double().mean() > .99
    cells += [f"{100 * held.mean():.0f} % of {len(held)}" if whole else "", str(found.summary["flags"].get("copies", 0))]
    return cells, numbers, (held.sum(), len(held)) if whole else (0, 0)


def draw(crowd, truth, seed):
    """(CrowdLabels, truth) of a small crowd, drawn from a large one."""
    random = np.random.default_rng(seed)
    item, annotator, label = (a.numpy().astype(int) for a in (crowd.item, crowd.annotator, crowd.label))
    known = truth.numpy()[item] >= 0
    busiest = np.argsort(-np.bincount(annotator[known], minlength=crowd.annotators), kind="stable")[:2 * PEOPLE]
    chosen = random.choice(busiest, PEOPLE, replace=False)
    kept = np.flatnonzero(known & np.isin(annotator, chosen))
    kept = kept[np.lexsort((random.random(len(kept)), item[kept]))]
    kept = kept[np.arange(len(kept)) - np.searchsorted(item[kept], item[kept]) < MOST]
    enough = np.flatnonzero(np.bincount(item[kept], minlength=len(truth)) >= LEAST)
    items = np.sort(random.choice(enough, min(ITEMS, len(enough)), replace=False))
    kept = kept[np.isin(item[kept], items)]
    who = np.searchsorted(np.sort(chosen), annotator[kept])
    return CrowdLabels.from_triples(np.searchsorted(items, item[kept]), who, label[kept], len(items), PEOPLE,
                                    crowd.classes), truth[items]


def parts(crowd, truth):
    """[(CrowdLabels, truth)] of some of a crowd's annotators, three or more."""
    order = np.argsort(-np.bincount(crowd.annotator.numpy(), minlength=crowd.annotators), kind="stable")
    chosen = [order[:k] for k in BUSIEST if k < len(order)]
    chosen += [np.random.default_rng(seed).permutation(len(order))[:len(order) // share] for share in SHARES
               for seed in range(DRAWS) if len(order) // share >= BUSIEST[0]]
    found = []
    for who in chosen:
        part = crowd.keep(torch.isin(crowd.annotator, torch.from_numpy(who)))
        items = part.counts.nonzero()[:, 0]
        found.append((part.select(items), truth[items]))
    return found


def compare_drawn(crowds):
    """(float (K, 2), int): accuracy and calibration error of the label model and its rivals, the mean of several crowds
    [(CrowdLabels, truth)], and how many annotators are called copies in all."""
    found, copies = [], 0
    for crowd, truth in crowds:
        ours = FittedCrowd.of(LabelModel(crowd))
        copies += (ours.copies.representative != np.arange(crowd.annotators)).sum()
        found.append([measure(ours.labels.posterior, truth),
                      *(rate(model, crowd, truth) for model in rivals(slow=False).values())])
    return np.mean(found, 0), copies


def reveal(folder, by_gain, seed):
    """[accuracy after each round] of one order in which hidden answers are revealed."""
    (crowd, truth), random = load(folder), np.random.default_rng(seed)
    item = crowd.item.numpy()
    order = np.lexsort((random.random(len(item)), item))
    place = np.arange(len(item)) - crowd.offsets.numpy()[item[order]]
    shown = np.zeros(len(item), bool)
    shown[order] = place < np.maximum(np.diff(crowd.offsets.numpy())[item[order]] // 2, 1)
    hidden = np.flatnonzero(~shown)
    found = []
    for _ in range(ROUNDS + 1):
        model = LabelModel(crowd.keep(torch.from_numpy(shown)))
        labels = model.labels()
        found.append(accuracy(torch.from_numpy(labels.posterior.argmax(1)), truth))
        left = hidden[~shown[hidden]]
        count = min(round(.05 * len(hidden)), len(left))
        chance = random.random(len(left))
        confusion = pooled_confusion(model, labels, np.ones(crowd.annotators, bool))
        gain = expected_gain(labels.posterior, confusion)[item[left]] if by_gain else chance
        # one answer an item first: a second one is asked for when the first is known
        first = np.lexsort((chance, item[left]))
        again = np.zeros(len(left), bool)
        again[first[1:]] = item[left][first[1:]] == item[left][first[:-1]]
        shown[left[np.lexsort((-gain, again & by_gain))[:count]]] = True
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--small", action="store_true")
    other.add_argument("--parts", action="store_true")
    other.add_argument("--next", action="store_true")
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
    if options.small or options.parts:
        names = ["accuracy %, calibration error", "label model", *rivals(slow=False), "copies"]
        print("| " + " | ".join(names) + " |")
        print("|" + " --- |" * len(names))
        rows, called = [], []
        for folder in options.folders:
            whole = load(folder)
            row, copies = compare_drawn(parts(*whole) if options.parts else [draw(*whole, seed) for seed in range(SEEDS)])
            rows.append(row)
            called.append(copies)
            print("| " + " | ".join([folder.name, *map(cell, row), str(copies)]) + " |", flush=True)
        print("| " + " | ".join(["mean", *map(cell, np.mean(rows, 0)), str(sum(called))]) + " |")
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
