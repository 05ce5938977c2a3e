"""Which files stand for a user's own? Writes answers, truth and images of a real or a made crowd, to run OwnData/main.py on.

    python3 benchmarks/own_files.py cifar10h CIFAR10 cifar10h-raw.csv OUT [K [ITEMS]]
    python3 benchmarks/own_files.py dogs DIR OUT
    python3 benchmarks/own_files.py digits OUT
    python3 OwnData/main.py --answers OUT/answers.csv --images OUT/images --truth OUT/truth.csv

cifar10h: three people's answers to each of 2,000 images (or of ITEMS), and the truth of 1,000 more to test on. CIFAR10 holds
cifar-10-batches-py/. K: of the K people with the most errors alone.
dogs: 200 named workers for Dogs vs. Cats, three answers to every second image, the others to test on; DIR holds cat.0.jpg,
dog.0.jpg, ... and is given to --images. A worker has an accuracy of 55 to 95 % on each class; ten guess, three always say
dog.
digits: scikit-learn's, three answers to each of 1,200 by twenty people of 30 to 90 % accuracy, three of whom guess.
"""
import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Cifar10"))

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from cifar10 import CLASSES, load
from human_labels import hardest, read_cifar10h

TEST, EACH = 1000, 3


def write_tables(out, answers, truth):
    """answers: (task, worker, label) each; truth: (task, label) each."""
    out.mkdir(parents=True, exist_ok=True)
    for name, header, rows in (("answers", ("task", "worker", "label"), answers), ("truth", ("task", "label"), truth)):
        with open(out / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([header, *rows])


def write_images(out, names, images):
    """images: uint8 arrays (H, W) or (H, W, 3)."""
    (out / "images").mkdir(exist_ok=True)
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(out / "images" / name)


def cifar10h(images, answers, out, keep=None, items=2000):
    items, test, out = int(items), load(Path(images))[1], Path(out)
    crowd, people, truth = read_cifar10h(Path(answers))
    if keep:
        crowd, people = hardest(crowd, people, truth, int(keep))
    crowd = crowd.subsample(EACH, seed=0)
    names = [f"{i:05d}.png" for i in range(items + TEST)]
    kept = crowd.item < items
    rows = zip(*(tensor[kept].tolist() for tensor in (crowd.item, crowd.annotator, crowd.label)), strict=True)
    write_tables(out, [(names[i], people[m], CLASSES[c]) for i, m, c in rows],
                 zip(names, np.array(CLASSES)[truth[:len(names)]], strict=True))
    write_images(out, names, test.inputs.pixels.images[:len(names)].numpy())


def dogs(images, out):
    names, classes = sorted(path.name for path in Path(images).glob("*.jpg")), np.array(["cat", "dog"])
    truth = np.array([name.startswith("dog") for name in names], int)
    random = np.random.default_rng(0)
    accuracy = random.uniform(.55, .95, (200, 2))
    accuracy[:10], accuracy[10:13] = .5, (0, 1)
    people = random.random((len(truth), len(accuracy))).argsort(1)[:, :EACH]
    right = random.random(people.shape) < accuracy[people, truth[:, None]]
    label = np.where(right, truth[:, None], 1 - truth[:, None])
    write_tables(Path(out), [(names[i], f"worker-{m:03d}@example.org", classes[c]) for i in range(0, len(names), 2)
                             for m, c in zip(people[i], label[i], strict=True)], zip(names, classes[truth], strict=True))


def digits(out):
    images, out, random = load_digits(), Path(out), np.random.default_rng(0)
    order = random.permutation(len(images.target))
    accuracy = random.uniform(.3, .9, 20)
    accuracy[:3] = .1
    answers = []
    for item in order[:1200]:
        for m in random.permutation(20)[:EACH]:
            truth = int(images.target[item])
            label = truth if random.random() < accuracy[m] else random.choice([c for c in range(10) if c != truth])
            answers.append((f"{item:04d}.png", f"w{m}", label))
    names = [f"{item:04d}.png" for item in order]
    write_tables(out, answers, zip(names, images.target[order], strict=True))
    write_images(out, names, (images.images[order] * 255 / 16).astype(np.uint8))


if __name__ == "__main__":
    if set(sys.argv[1:]) <= {"-h", "--help"}:
        sys.exit(__doc__)
    {"cifar10h": cifar10h, "dogs": dogs, "digits": digits}[sys.argv[1]](*sys.argv[2:])
