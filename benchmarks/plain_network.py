"""What the network of OwnData makes of labels without any crowd model, for comparison with other tools.

    python3 benchmarks/plain_network.py apart ANSWERS.csv OUT --images DIR
    python3 benchmarks/plain_network.py learn LABELS.csv OUT --images DIR --truth TRUTH.csv

`apart`: trained on the majority vote of four fifths of the items in turn, it gives the others OUT/probabilities.csv, which
cleanlab asks for. `learn`: trained on LABELS (task,label), as other tools give them, and tested. What follows goes to
OwnData/main.py; `learn` has its folds and its choice of an epoch, as a run on the answers themselves has.
"""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

MAIN = Path(__file__).resolve().parents[1] / "OwnData" / "main.py"
FOLDS = 5


def run(answers, out, flags):
    out.mkdir(parents=True, exist_ok=True)
    answers.to_csv(out / "answers.csv", index=False)
    subprocess.run([sys.executable, MAIN, "--answers", out / "answers.csv", "--methods", "majority-vote", "--out",
                    out / "run", *flags], check=True)


def apart(answers, out, flags):
    items = answers.task.unique()
    fold = dict(zip(items, np.random.default_rng(0).permutation(len(items)) % FOLDS, strict=True))
    of_answer, found = answers.task.map(fold), []
    for k in range(FOLDS):
        run(answers[of_answer != k], out / str(k), ["--select", "none", *flags])
        found.append(pd.read_csv(out / str(k) / "run" / "predictions.csv", dtype={"item": str}).set_index("item"))
        found[-1] = found[-1].loc[[item for item in items if fold[item] == k]]
    pd.concat(found).drop(columns=["truth", "label", "confidence"], errors="ignore").to_csv(
        out / "probabilities.csv", index_label="task")


def learn(labels, out, flags):
    """Two annotators who agree in everything: fewer are no crowd."""
    run(pd.concat([labels.assign(worker=name) for name in ("a", "b")]), out, flags)
    method = json.loads((out / "run" / "summary.json").read_text())["methods"]["majority-vote"]
    print(f"test accuracy: last epoch {method['last']['test_accuracy']:.4f}, "
          f"selected epoch {method['selected']['test_accuracy']:.4f}")


def main():
    what, file, out, *flags = sys.argv[1:]
    {"apart": apart, "learn": learn}[what](pd.read_csv(file, dtype=str), Path(out), flags)


if __name__ == "__main__":
    main()
