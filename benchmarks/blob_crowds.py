"""OwnData on crowds made for blobs of points, by seed: crowds on which nothing was chosen.

    python3 benchmarks/blob_crowds.py OUT FIRST LAST

Each takes some fifteen seconds. Three kinds in turn: weak features and eight good annotators; three classes and ten
annotators of any quality; six classes and forty annotators with four labels an item.
"""
import sys
from pathlib import Path

import numpy as np
from made_crowds import run, write_tables


def blobs(random, items, classes, width, apart):
    """(features (N, F), classes (N,))."""
    truth = random.choice(classes, items)
    middle = random.normal(size=(classes, width)) * apart / np.sqrt(2 * width) * 2
    return middle[truth] + random.normal(size=(items, width)), truth


def crowd(random, truth, classes, accuracy, each):
    """[(item, annotator, label)]: right with that accuracy, else any class."""
    return [(i, m, c if random.random() < accuracy[m] else random.integers(classes)) for i, c in enumerate(truth)
            for m in random.choice(len(accuracy), each, replace=False)]


def make(seed, folder):
    random = np.random.default_rng(100 + seed)
    match seed % 3:
        case 0:
            x, y = blobs(random, 500, 5, 5, .8)
            said = crowd(random, y, 5, [.9] * 8, 3)
        case 1:
            x, y = blobs(random, 400, 3, 6, 1.2)
            said = crowd(random, y, 3, random.uniform(.3, .95, 10), 3)
        case _:
            x, y = blobs(random, 800, 6, 12, 2.)
            said = crowd(random, y, 6, random.uniform(.2, .9, 40), 4)
    write_tables(folder, {
        "answers": (("task", "worker", "label"), [(f"i{i}", f"w{m}", f"c{c}") for i, m, c in said]),
        "truth": (("task", "label"), [(f"i{i}", f"c{c}") for i, c in enumerate(y)]),
        "features": (("task", *(f"f{k}" for k in range(x.shape[1]))),
                     [(f"i{i}", *row) for i, row in enumerate(x.tolist())])})


def main(out, first, last):
    print("| seed | majority vote | Dawid-Skene | one-coin | labels.csv | calibration error | annotators' rank correlation: "
          "annotators.csv, agreement, Dawid-Skene | flags |\n|" + " --- |" * 8)
    for seed in range(int(first), int(last) + 1):
        folder = Path(out) / str(seed)
        make(seed, folder)
        summary = run(folder, "--methods", "one-coin", "aggnet", "max-mig", "crowd-layer", "--epochs", "30")
        labels = [summary["candidates"][name] for name in ("majority-vote", "dawid-skene", "one-coin")]
        ranks = [f"{summary['annotator_correlation'][name]:.2f}" for name in ("estimated", "majority-vote", "dawid-skene")]
        print("| " + " | ".join([str(seed), *(f"{100 * share:.1f}" for share in (*labels, summary["label_accuracy"])),
                                 f"{summary['calibration_error']:.3f}", ", ".join(ranks),
                                 ", ".join(f"{n} {kind}" for kind, n in summary["flags"].items())]) + " |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
