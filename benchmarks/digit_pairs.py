"""Which digits look alike? Counts confusions, and finds the five pairs with most of them.

    python3 benchmarks/digit_pairs.py
"""
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Digits"))

import numpy as np
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestCentroid

import digits


def count_confusions():
    """(10, 10): how often the nearest mean image takes one training digit for another, or it for the one."""
    train, _ = digits.load()
    pixels, truth = train.inputs.raw(slice(None)).flatten(1).numpy(), train.truth.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the border pixels are the same in all images of a digit
        counts = confusion_matrix(truth, cross_val_predict(NearestCentroid(), pixels, truth, cv=10))
    counts = counts + counts.T
    np.fill_diagonal(counts, 0)
    return counts


def best_pairs(counts, classes=tuple(range(10))):
    """(confusions, pairs): of all ways to split the classes into pairs, the one with most confusions inside them."""
    if not classes:
        return 0, ()
    first, *others = classes
    options = []
    for second in others:
        total, pairs = best_pairs(counts, tuple(c for c in others if c != second))
        options.append((total + counts[first, second], ((first, second), *pairs)))
    return max(options)


def main():
    counts = count_confusions()
    print("confusions between two digits, either way, by the nearest mean image (10-fold, training items):\n")
    print("    " + "".join(f"{c:4}" for c in range(10)))
    for c, row in enumerate(counts):
        print(f"{c:4}" + "".join(f"{n:4}" for n in row))
    total, pairs = best_pairs(counts)
    print(f"\n{total} of {counts.sum() // 2} confusions are inside " + ", ".join(
        f"{pair} {counts[pair]}" for pair in sorted(pairs, key=lambda pair: -counts[pair])))


if __name__ == "__main__":
    main()
