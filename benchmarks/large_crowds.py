"""How long and how much memory do a million answers alone take, beyond the imports?

    python3 benchmarks/large_crowds.py [ANSWERS ...]

Makes a table of each number of answers (100,000 and 1,000,000): ten classes, ten answers an item, an annotator for every
hundred answers, with an accuracy of 50 to 95 %; and runs OwnData/main.py on it. On one thread.
"""
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
CLASSES, EACH = 10, 10


def make(path, answers):
    random, items, people = np.random.default_rng(0), answers // EACH, answers // 100
    truth, accuracy = random.integers(CLASSES, size=items), random.uniform(.5, .95, people)
    item, worker = np.repeat(np.arange(items), EACH), random.integers(people, size=items * EACH)
    right = random.random(len(item)) < accuracy[worker]
    label = np.where(right, truth[item], random.integers(CLASSES, size=len(item)))
    pd.DataFrame({"task": item, "worker": worker, "label": label}).astype(str).add_prefix("").assign(
        task=lambda t: "item" + t.task, worker=lambda t: "w" + t.worker, label=lambda t: "class" + t.label).drop_duplicates(
        ["task", "worker"]).to_csv(path, index=False)


def run(answers, out):
    """Runs in this process; prints seconds and MB beyond the imports."""
    sys.path.insert(0, str(ROOT))
    from OwnData import aggregation, own_data  # noqa: F401
    from OwnData.main import main
    memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    main(["--answers", answers, "--out", out])
    print(f"{time.perf_counter() - started:.1f} s and "
          f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024:.0f} MB beyond the imports")


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    if sys.argv[1:2] == ["--run"]:
        run(*sys.argv[2:])
    else:
        with tempfile.TemporaryDirectory() as folder:
            for answers in map(int, sys.argv[1:] or (100_000, 1_000_000)):
                make(Path(folder) / "answers.csv", answers)
                done = subprocess.run([sys.executable, __file__, "--run", f"{folder}/answers.csv", f"{folder}/{answers}"],
                                      capture_output=True, text=True, check=True, env={"OMP_NUM_THREADS": "1"})
                print(f"{answers} answers: {done.stdout.splitlines()[-1]}", flush=True)
