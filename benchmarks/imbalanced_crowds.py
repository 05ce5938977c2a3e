"""Does KD-Crowd keep its base's accuracy where one class of two is rare?

    python3 benchmarks/imbalanced_crowds.py OUT [--seeds N]

A seed takes some two minutes on one core. OUT keeps the runs. The items are 1,500 rows of 20 features, 10 % of
them of the rare class, for which four features are shifted. Ten annotators of 70 to 95 % accuracy give 1,000 items three
labels each; the other 500 items are the test set.
"""
import argparse
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd

from OwnData import fit

ITEMS, ANSWERED, FEATURES, SHIFTED, SHIFT, RARE = 1500, 1000, 20, 4, 1.1, .1
TEACHERS = ("crowd-layer", "max-mig")
STUDENTS = {"elr": {"robust": "elr"}, "dividemix, lambda-u 0": {"robust": "dividemix"},
            "dividemix, lambda-u 25": {"robust": "dividemix", "lambda_u": 25}}


def make(seed):
    """What OwnData.fit takes of a crowd: answers, features, items, truth."""
    random = np.random.default_rng(seed)
    truth = np.zeros(ITEMS, int)
    truth[random.permutation(ITEMS)[:round(RARE * ITEMS)]] = 1
    features = random.normal(size=(ITEMS, FEATURES))
    features[:, :SHIFTED] += SHIFT * truth[:, None]
    accuracy = random.uniform(.7, .95, 10)
    annotator = random.random((ANSWERED, 10)).argsort(1)[:, :3].ravel()
    item = np.arange(ANSWERED).repeat(3)
    label = np.where(random.random(len(item)) < accuracy[annotator], truth[item], 1 - truth[item])
    names = [f"i{i}" for i in range(ITEMS)]
    return {"answers": pd.DataFrame({"task": [names[i] for i in item], "worker": annotator, "label": label}),
            "features": features, "items": names, "truth": pd.DataFrame({"task": names, "label": truth})}


def measure(out, seed, **flags):
    """{method: (test accuracy, test AUC)} after the last epoch, in per cent."""
    with contextlib.redirect_stdout(None):
        methods = fit(**make(seed), out=out, methods=[f"kd-crowd-{name}" for name in TEACHERS], select="none", epochs=30,
                      device="cpu", precision="float32", **flags).summary["methods"]
    return {name: [100 * method["last"][score] for score in ("test_accuracy", "test_auc")]
            for name, method in methods.items() if method["last"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| base | learner | base: accuracy, AUC | KD-Crowd: accuracy, AUC |\n|" + " --- |" * 4)
    for student, flags in STUDENTS.items():
        runs = [measure(options.out / f"{student.replace(', ', '-').replace(' ', '-')}-seed{seed}", seed, **flags)
                for seed in range(options.seeds)]
        for teacher in TEACHERS:
            base, taught = (np.mean([each[name] for each in runs], 0) for name in (teacher, f"kd-crowd-{teacher}"))
            print(f"| {teacher} | {student} | {base[0]:.1f}, {base[1]:.1f} | {taught[0]:.1f}, {taught[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
