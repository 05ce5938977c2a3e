"""Seconds to lay out Dogs vs. Cats the first time, when its JPEGs are decoded, and from the cache the next time.

    python3 benchmarks/decode.py DATA
"""
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "DogsVsCats"))

import dogs_vs_cats

with tempfile.TemporaryDirectory() as folder:
    os.environ["XDG_CACHE_HOME"] = folder  # an empty cache
    for what in ("decoded", "from the cache"):
        start = time.perf_counter()
        train, test, _ = dogs_vs_cats.load(sys.argv[1])
        print(f"{len(train) + len(test)} images, {what}: {time.perf_counter() - start:.1f} s")
