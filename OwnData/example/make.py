"""Makes the example: 120 of scikit-learn's handwritten zeros, ones and sevens as image files, what eight made-up people
say of 90 of them, and the truth of all.

    python3 OwnData/example/make.py
"""
import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NAMES = {0: "zero", 1: "one", 7: "seven"}
# how often each is right about zeros, ones and sevens; what they say otherwise
PEOPLE = {"ada": (.95, .9, .9), "ben": (.9, .8, .8), "cleo": (.9, .9, .7), "dan": (.8, .8, .8), "eve": (.9, .2, .2),
          "finn": (.7, .7, .7), "gus": (1, 0, 0), "hana": (.95, .95, .95)}
ITEMS, ANSWERED, AN_ITEM = 120, 90, 3


def main():
    folder = Path(__file__).parent
    (folder / "images").mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    digits = load_digits()
    answers, truth = [], []
    chosen = random.permutation(np.flatnonzero(np.isin(digits.target, list(NAMES))))[:ITEMS]
    for place, item in enumerate(chosen):
        name, true = f"digit-{item:04}.png", digits.target[item]
        image = Image.fromarray(np.round(digits.images[item] * (255 / 16)).astype(np.uint8))
        image.save(folder / "images" / name, optimize=True)
        truth.append((name, NAMES[true]))
        for person in random.permutation(list(PEOPLE))[:AN_ITEM] if place < ANSWERED else ():
            right = random.random() < PEOPLE[person][list(NAMES).index(true)]
            others = [other for other in NAMES if other != true]
            wrong = 0 if person == "gus" else random.choice([o for o in others if o] if person == "eve" else others)
            answers.append((name, person, NAMES[true if right else wrong]))
    for file, header, rows in (("answers.csv", ("task", "worker", "label"), answers),
                               ("truth.csv", ("task", "label"), truth)):
        with open(folder / file, "w", newline="") as opened:
            csv.writer(opened, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    main()
