"""OwnData on crowds made for scikit-learn's data sets, each with a difficulty of its own: are the labels ever worse than
those of the majority vote or of Dawid-Skene?

    python3 benchmarks/made_crowds.py OUT [NAME ...]

A crowd takes one to five minutes on one core. OUT keeps the files and the runs; those that are there are not run again.
"""
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.linear_model import LogisticRegression

ROOT = Path(__file__).resolve().parents[1]


def even(accuracy, classes):
    """(M, C, C): annotators of these accuracies who err evenly."""
    accuracy = np.asarray(accuracy)[:, None, None]
    identity = np.eye(classes)
    return accuracy * identity + (1 - accuracy) * (1 - identity) / (classes - 1)


def say(truth, matrices, each, random):
    """[(item, annotator, label)]: `each` random annotators of the matrices (M, C, C) label every item."""
    people = random.random((len(truth), len(matrices))).argsort(1)[:, :each]
    said = []
    for item, them in enumerate(people):
        said += [(item, m, random.choice(len(matrices[m]), p=matrices[m][truth[item]])) for m in them]
    return said


def many_strangers(x, y, random):
    """248 annotators with some 25 labels each over ten classes."""
    return say(y, even(random.uniform(.5, .95, 248), 10), 5, random)


def class_bias(x, y, random):
    """Two classes, two labels an item, annotators who prefer one class."""
    lean = random.uniform(-.25, .25, 12)
    return say(y, np.stack([[[.75 + b, .25 - b], [.25 + b, .75 - b]] for b in lean]), 2, random)


def few_items(x, y, random):
    """178 items, six annotators, three labels an item."""
    return say(y, even(random.uniform(.5, .9, 6), 3), 3, random)


def adversaries(x, y, random):
    """Five who know, three who guess, two who are wrong on purpose; four labels an item."""
    succeeded, guess = even([.65] * 5, 10), even([.1] * 3, 10)
    wrong = np.stack([np.roll(np.eye(10), shift, 1) * .7 + .03 for shift in (1, 3)])
    return say(y, np.concatenate([succeeded, guess, wrong / wrong.sum(2, keepdims=True)]), 4, random)


def hard_items(x, y, random):
    """All err on the same items: those near another class, by a plain classifier, get that class's name instead."""
    p = LogisticRegression(max_iter=2000).fit(x, y).predict_proba(x)
    p[np.arange(len(y)), y] = 0
    other, doubt = p.argmax(1), p.max(1)
    hard = doubt >= np.quantile(doubt, .75)
    said = []
    for item, m, label in say(y, even(random.uniform(.7, .95, 15), p.shape[1]), 3, random):
        said.append((item, m, other[item] if hard[item] and random.random() < .45 else label))
    return said


def single_labels(x, y, random):
    """One label an item."""
    return say(y, even(random.uniform(.5, .9, 20), 10), 1, random)


def rare_class(x, y, random):
    """One class in ten of the items, five labels an item."""
    return say(y, np.stack([[[a, 1 - a], [1 - b, b]] for a, b in random.uniform(.6, .95, (10, 2))]), 5, random)


def looks_alike(x, y, random):
    """Errors inside pairs of digits that look alike, and three annotators who copy one of them."""
    pairs = {5: 9, 9: 5, 1: 8, 8: 1, 2: 3, 3: 2, 4: 7, 7: 4, 0: 6, 6: 0}
    matrices = np.zeros((6, 10, 10))
    for m, accuracy in enumerate(random.uniform(.55, .9, 6)):
        for c in range(10):
            matrices[m, c, c], matrices[m, c, pairs[c]] = accuracy, 1 - accuracy
    said = say(y, matrices, 6, random)
    copied = [(item, m, label) for item, first, label in said if first == 0 for m in (6, 7, 8)]
    return [answer for answer in said + copied if random.random() < .5]


def _noise(x, random):
    return random.standard_normal((len(x), 20))


def _one_against_nine(x, y):
    return x, (y == 8).astype(int)


CROWDS = {  # name: (data set, crowd, what becomes of the features and classes)
    "many strangers": ("digits", many_strangers, None), "class bias": ("breast_cancer", class_bias, None),
    "few items": ("wine", few_items, None), "adversaries": ("digits", adversaries, None),
    "hard items": ("digits", hard_items, None), "hard items, two classes": ("breast_cancer", hard_items, None),
    "single labels": ("digits", single_labels, None), "rare class": ("digits", rare_class, "rare"),
    "looks alike": ("digits", looks_alike, None), "useless features": ("wine", few_items, "noise"),
    "useless features, many": ("digits", many_strangers, "noise"),
}


def make(name, folder):
    """answers.csv, features.csv and truth.csv of a crowd: two thirds of the items have answers, all have a truth."""
    data, crowd, change = CROWDS[name]
    random = np.random.default_rng(list(CROWDS).index(name))
    x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    if change == "rare":
        x, y = _one_against_nine(x, y)
    answered = random.permutation(len(y))[:2 * len(y) // 3 if len(y) > 300 else len(y)]
    said = crowd(x[answered], y[answered], random)
    x = _noise(x, random) if change == "noise" else x
    answers = [(f"item {answered[i]}", f"w{m:03}", f"class {c}") for i, m, c in said]
    tables = {"answers": (("task", "worker", "label"), answers),
              "features": (("task", *(f"f{k}" for k in range(x.shape[1]))),
                           [(f"item {i}", *row) for i, row in enumerate(x.tolist())]),
              "truth": (("task", "label"), [(f"item {i}", f"class {c}") for i, c in enumerate(y)])}
    write_tables(folder, tables)


def write_tables(folder, tables):
    """{name: (header, rows)} as folder/name.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, (header, rows) in tables.items():
        with open(folder / f"{table}.csv", "w", newline="") as file:
            csv.writer(file).writerows([header, *rows])


def run(folder, *flags):
    """summary.json of OwnData's run on the folder's answers, features and truth; what is done is not run again."""
    summary = folder / "run" / "summary.json"
    if not summary.exists():
        files = [word for kind in ("answers", "features", "truth") for word in (f"--{kind}", folder / f"{kind}.csv")]
        subprocess.run([sys.executable, ROOT / "OwnData" / "main.py", *files, *flags, "--out", folder / "run"], check=True,
                       stdout=subprocess.DEVNULL)
    return json.loads(summary.read_text())


def main():
    out = Path(sys.argv[1])
    print("| crowd | majority vote | Dawid-Skene | one-coin | labels.csv | calibration error | best candidate | put first: "
          "test | best method: test |\n|" + " --- |" * 9)
    for name in sys.argv[2:] or CROWDS:
        folder = out / name.replace(",", "").replace(" ", "-")
        if not (folder / "run" / "summary.json").exists():
            make(name, folder)
        summary = run(folder)
        said = summary["candidates"]
        best = max(said, key=said.get)
        numbers = [said["majority-vote"], said["dawid-skene"], said["one-coin"], summary["label_accuracy"]]
        tested = {name: method["selected"]["test_accuracy"] for name, method in summary["methods"].items()
                  if (method.get("selected") or {}).get("test_accuracy") is not None and not name.endswith("forecaster")}
        first = summary["best_method"]
        tests = [f"{100 * tested[first]:.1f} ({first})", f"{100 * max(tested.values()):.1f}"] if tested else ["", ""]
        print("| " + " | ".join([name, *(f"{100 * number:.1f}" for number in numbers), f"{summary['calibration_error']:.3f}",
                                 f"{100 * said[best]:.1f} ({best})", *tests]) + " |", flush=True)


if __name__ == "__main__":
    main()
