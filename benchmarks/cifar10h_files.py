"""CIFAR-10H as a user's own files: three people's answers to each of 2,000 images (or of ITEMS), the truth of 1,000 more
to test on.

    python3 benchmarks/cifar10h_files.py CIFAR10 cifar10h-raw.csv OUT [K [ITEMS]]
    python3 OwnData/main.py --answers OUT/answers.csv --images OUT/images --truth OUT/truth.csv --size 32

CIFAR10 holds cifar-10-batches-py/. K: of the K people with the most errors alone.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Cifar10"))

import numpy as np
from made_crowds import write_tables
from PIL import Image

from cifar10 import CLASSES, load
from human_labels import hardest, read_cifar10h

TEST, EACH = 1000, 3


def main(images, answers, out, keep=None, items=2000):
    items, test = int(items), load(Path(images))[1]
    crowd, people, truth = read_cifar10h(Path(answers))
    if keep:
        crowd, people = hardest(crowd, people, truth, int(keep))
    crowd = crowd.subsample(EACH, seed=0)
    names = [f"{i:05d}.png" for i in range(items + TEST)]
    said = crowd.item < items
    rows = zip(*(tensor[said].tolist() for tensor in (crowd.item, crowd.annotator, crowd.label)), strict=True)
    write_tables(Path(out), {
        "answers": (("task", "worker", "label"), [(names[i], people[m], CLASSES[c]) for i, m, c in rows]),
        "truth": (("task", "label"), zip(names, np.array(CLASSES)[truth[:len(names)]], strict=True))})
    (Path(out) / "images").mkdir(exist_ok=True)
    for name, image in zip(names, test.inputs.pixels.images, strict=False):
        Image.fromarray(image.numpy()).save(Path(out) / "images" / name)


if __name__ == "__main__":
    main(*sys.argv[1:6])
