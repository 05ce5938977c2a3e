"""Sixty items and a few people: are labels.csv's ever worse than the majority vote, which is optimal there for two classes?

    python3 benchmarks/small_crowds.py [CROWDS]

CROWDS crowds (40) of each kind: two or three classes, three or five independent people, each with an accuracy of 70 to 80 %.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.crowd.bayes import LabelModel
from common.crowd.labels import CrowdLabels

ITEMS = 60


def draw(seed, classes, people):
    """(labels (N, M), truth (N,)), integers."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=ITEMS)
    right = random.random((ITEMS, people)) < random.uniform(.7, .8, people)
    return np.where(right, truth[:, None], (truth[:, None] + random.integers(1, classes, (ITEMS, people))) % classes), truth


def main(crowds=40):
    print("| classes | people | majority vote | labels.csv | unanimous items overturned |\n|" + " --- |" * 5)
    for classes in (2, 3):
        for people in (3, 5):
            found = []
            for seed in range(crowds):
                labels, truth = draw(seed, classes, people)
                model = LabelModel(CrowdLabels.from_dense(labels, classes))
                label, vote = model.posterior().posterior.argmax(1), model.votes.argmax(1)
                unanimous = model.votes.max(1) == people
                found.append(((vote == truth).mean(), (label == truth).mean(), (label != vote)[unanimous].sum()))
            vote, label, overturned = np.mean(found, 0)
            print(f"| {classes} | {people} | {100 * vote:.1f} | {100 * label:.1f} | {overturned * crowds:.0f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
