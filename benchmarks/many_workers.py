"""A crowd of 200 named workers for Dogs vs. Cats, three answers an image: for the time and memory that OwnData takes.

    python3 benchmarks/many_workers.py DIR OUT
    python3 OwnData/main.py --answers OUT/answers.csv --images DIR --truth OUT/truth.csv

DIR holds cat.0.jpg, dog.0.jpg, ... A worker is right on 55 to 95 % of each class; ten of them guess, and three always say
dog.
"""
import sys
from pathlib import Path

import numpy as np
from made_crowds import say, write_tables

CLASSES = ("cat", "dog")


def main(images, out):
    names = sorted(path.name for path in Path(images).glob("*.jpg"))
    truth = np.array([CLASSES.index(name.split(".")[0]) for name in names])
    random = np.random.default_rng(0)
    right = random.uniform(.55, .95, (200, 2))
    right[:10], right[10:13] = .5, (0, 1)
    matrices = np.stack([np.stack([right[:, 0], 1 - right[:, 0]], 1), np.stack([1 - right[:, 1], right[:, 1]], 1)], 1)
    answers = [(names[i], f"worker-{m:03d}@example.org", CLASSES[c]) for i, m, c in say(truth, matrices, 3, random)]
    write_tables(Path(out), {"answers": (("task", "worker", "label"), answers),
                             "truth": (("task", "label"), zip(names, np.array(CLASSES)[truth], strict=True))})


if __name__ == "__main__":
    main(*sys.argv[1:3])
