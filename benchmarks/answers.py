"""Seconds and memory of reading ten million answers of a million items by 100,000 workers, all with names of text.

    python3 benchmarks/answers.py
"""
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.data.answers import read_answers

ANSWERS, WORKERS, AN_ITEM = 10_000_000, 100_000, 10


def write(path, answers):
    """A table of so many answers, each item's by different workers, in a shuffled order, a part at a time."""
    random = np.random.default_rng(0)
    with open(path, "w") as file:
        file.write("task,worker,label\n")
        for start in range(0, answers, 1_000_000):
            entry = np.arange(start, min(start + 1_000_000, answers))
            random.shuffle(entry)
            item = entry // AN_ITEM
            worker = (item * 7919 + entry % AN_ITEM * 9973) % WORKERS
            label = random.integers(0, 10, len(entry))
            file.writelines(f"picture_{i:07}.jpg,worker-{w},class {c}\n"
                            for i, w, c in zip(item.tolist(), worker.tolist(), label.tolist(), strict=True))


def main():
    answers = int(sys.argv[1]) if len(sys.argv) > 1 else ANSWERS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.csv"
        write(path, answers)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        started = time.perf_counter()
        read = read_answers(str(path))
        crowd = read.crowd(np.arange(len(read.items)), len(read.items))
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(crowd.label)} answers of {len(crowd)} items by {crowd.annotators} workers: {seconds:.1f} s, "
          f"peak {peak:.0f} MB ({before:.0f} MB before)")


if __name__ == "__main__":
    main()
