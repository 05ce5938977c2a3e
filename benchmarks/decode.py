"""Decoded images in memory and as the map of a file: seconds until they are there, anonymous memory, images a second.

    python3 benchmarks/decode.py DATA          # Dogs vs. Cats: decoded, then from the cache
    python3 benchmarks/decode.py --made N      # N made images of 64 x 64, written to a temporary file first

Each line is a process of its own; the images go by in batches of 64, shuffled, normalised, without a network.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "DogsVsCats"))

import dogs_vs_cats
from common.data.images import ImageSet, Pixels

BATCH, SIZE, CHUNK = 64, 64, 10_000


def anonymous_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def load(data, made, cache):
    """The ImageSet of the training images."""
    if not made:
        return dogs_vs_cats.load(data)[0].inputs
    images = torch.from_numpy(np.memmap(cache, np.uint8, "c", shape=(made, SIZE, SIZE, 3)))
    return ImageSet(Pixels(images, torch.zeros(made, dtype=torch.int64), mapped=True), (.5,) * 3, (.25,) * 3)


def one(options):
    before, started = anonymous_mb(), time.perf_counter()
    images = load(options.data, options.made, options.cache).to(torch.device("cpu"), options.keep)
    ready = time.perf_counter() - started
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).split(BATCH)
    speeds = []
    for _ in range(2):
        started = time.perf_counter()
        for batch in images.batches(order):
            batch[0, 0, 0, 0].item()
        speeds.append(len(images) / (time.perf_counter() - started))
    print(f"{len(images)} images, --keep {options.keep}: there after {ready:.1f} s, {anonymous_mb() - before:.0f} MB of "
          f"anonymous memory, {speeds[0]:.0f} images/s, the second time {speeds[1]:.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--made", type=int, default=0)
    parser.add_argument("--keep", help="one line, with --cache, in this process")
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    if options.keep:
        return one(options)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # an empty cache
        cache = Path(folder) / "made"
        if options.made:
            random = np.random.default_rng(0)
            with open(cache, "wb") as file:
                for start in range(0, options.made, CHUNK):
                    file.write(random.bytes(min(CHUNK, options.made - start) * SIZE * SIZE * 3))
        where = ["--made", str(options.made), "--cache", str(cache)] if options.made else [options.data]
        for keep in ("disk", "disk", "device"):
            subprocess.run([sys.executable, __file__, *where, "--keep", keep], check=True)


if __name__ == "__main__":
    main()
