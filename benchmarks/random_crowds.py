"""Labels from a classifier and a crowd, on crowds drawn at random: how often are they worse than the crowd's alone, and are
copiers found?

    python3 benchmarks/random_crowds.py FIRST LAST [copies]
    python3 benchmarks/random_crowds.py small [CROWDS]
    python3 benchmarks/random_crowds.py sparse [CROWDS]

Crowds FIRST to LAST - 1, about a second each. Each has 2 to 30 classes, 150 to 3,000 items and 4 to 800 annotators: of
one accuracy, class-independent, with switched classes, guessing, or with a matrix of their own, in random shares. The
classifier is a logistic regression on the votes, out of five folds, and its features may be useless. With `copies` there are
5 to 14 annotators, and a fifth to seven tenths of them take half to all of their labels from one or two of the others.

With `small`: CROWDS crowds (40) of 60 items of each kind, labels alone: two or three classes, three or five independent
people, each with an accuracy of 70 to 80 %. The majority vote is optimal there for two classes.

With `sparse`: CROWDS crowds (8) of 400 items of each kind, labels alone, 1.05 to 1.9 labels an item. The annotators know
10 to 60 % of the items, and have favourite labels elsewhere.
"""
import sys
import warnings
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from common.crowd.bayes import LabelModel
from common.crowd.dawid_skene import dawid_skene, one_coin
from common.crowd.fitted import FittedCrowd
from common.crowd.held_out import score
from common.crowd.labels import CrowdLabels, vote_shares
from common.evaluation.metrics import calibration_error

FOLDS, FEATURES, MISSING = 5, 10, .03
SMALL, SPARSE = 60, 400  # items of such a crowd
RATE, SHARED = .8, 30  # of copiers that should be found: how much they copy, and errors in common
KINDS = (6, 1, .3, .6, 1.)  # annotators of each kind: one-coin, class-independent, switched, guessing, others


def matrix(kind, accuracy, classes, random):
    """(C, C): the confusion matrix of an annotator."""
    identity = np.eye(classes)
    coin = accuracy * identity + (1 - accuracy) * (1 - identity) / (classes - 1)
    if kind == 1:
        return np.tile(random.dirichlet(np.full(classes, .3)), (classes, 1))
    if kind == 2:
        return coin[:, np.roll(np.arange(classes), 1)]
    if kind == 3:
        return np.full((classes, classes), 1 / classes)
    if kind == 4:
        return np.stack([random.dirichlet(row * accuracy * 8 + (1 - accuracy) * 8 / classes) for row in np.eye(classes)])
    return coin


def copy(answers, items, people, random):
    """(answers [(item, annotator, label)], rate, {copier: leader}) after some of the annotators have copied labels at a
    rate."""
    table = np.full((items, people), -1)
    item, annotator, label = np.array(answers).T
    table[item, annotator] = label
    order, copying = random.permutation(people), max(1, int(people * random.uniform(.2, .7)))
    leaders, rate, pairs = order[copying:][:2], random.uniform(.5, 1), {}
    for m in order[:copying]:
        pairs[int(m)] = leader = int(random.choice(leaders))
        both = (table[:, [m, leader]] >= 0).all(1) & (random.random(items) < rate)
        table[both, m] = table[both, leader]
    return np.column_stack([item, annotator, table[item, annotator]]), rate, pairs


def count_copiers(crowd, truth, rate, pairs, representative):
    """(copiers found, copiers that should be, pairs accused falsely): those count who copy most and share thirty errors."""
    item, annotator, label = crowd.item.numpy(), crowd.annotator.numpy(), crowd.label.numpy()
    table = np.full((len(crowd), crowd.annotators), -1)
    table[item, annotator] = label
    found = expected = 0
    for copier, leader in pairs.items():
        same = (table[:, copier] >= 0) & (table[:, copier] == table[:, leader]) & (table[:, copier] != truth)
        if rate >= RATE and same.sum() >= SHARED:
            expected += 1
            found += representative[copier] == representative[leader]
    group = np.array([pairs.get(m, m) for m in range(crowd.annotators)])
    false = sum(group[m] != group[leader] for m, leader in enumerate(representative))
    return np.array([found, expected, false])


def draw(seed, copies=False):
    """(CrowdLabels, h (N, C), truth (N,), the rate of the copiers, {copier: leader})."""
    random = np.random.default_rng(seed)
    classes = int(random.choice([2, 2, 3, 5, 10, 30]))
    items = int(np.exp(random.uniform(np.log(150), np.log(3000))))
    people = int(np.exp(random.uniform(np.log(4), np.log(min(items, 800)))))
    each = float(random.uniform(1, min(people, 6)))
    if copies:
        people = int(random.integers(5, 15))
        each = random.uniform(3, people)
    prior = random.dirichlet(np.full(classes, random.choice([1, 5, 100]))) * .98 + .02 / classes
    truth = random.choice(classes, items, p=prior)
    means = random.normal(size=(classes, FEATURES))
    x = means[truth] * random.choice([0, .5, 1, 2]) + random.normal(size=(items, FEATURES))
    base, mix, matrices = random.uniform(.45, .9), random.dirichlet(KINDS), []
    for _ in range(people):
        kind = random.choice(len(KINDS), p=mix)
        matrices.append(matrix(kind, np.clip(base + random.normal() * .1, 1.2 / classes, .99), classes, random))
    active = random.dirichlet(np.full(people, random.choice([.3, 1, 10])))
    answers = []
    for i in range(items):
        k = max(1, min(people, int(each) + (random.random() < each % 1)))
        if random.random() >= MISSING:
            them = np.argsort(-(np.log(active + 1e-9) + random.gumbel(size=people)))[:k]
            answers += [(i, m, random.choice(classes, p=matrices[m][truth[i]])) for m in them]
    answers, rate, pairs = copy(answers, items, people, random) if copies else (np.array(answers), 0., {})
    crowd = CrowdLabels.from_triples(*answers.T, items, people, classes)
    part = random.permutation(items) % FOLDS
    votes, seen, h = vote_shares(crowd).argmax(1).numpy(), crowd.counts.numpy() > 0, np.full((items, classes), 1 / classes)
    for p in range(FOLDS):
        train = (part != p) & seen
        if len(np.unique(votes[train])) > 1:
            model = LogisticRegression(max_iter=200).fit(x[train], votes[train])
            h[part == p] = 1e-4
            h[np.ix_(part == p, model.classes_)] = model.predict_proba(x[part == p])
    return crowd, h / h.sum(1, keepdims=True), torch.from_numpy(truth), rate, pairs


def main(first, last, copies=False):
    warnings.filterwarnings("ignore")
    ways = "votes", "Dawid-Skene", "one-coin", "h", "label model"
    found, errors, copiers = [], [], np.zeros(3, int)
    for seed in range(first, last):
        crowd, h, truth, rate, pairs = draw(seed, copies)
        seen = crowd.counts > 0
        model = LabelModel(crowd)
        ours = FittedCrowd.of(model, score(model, h).calibrated)
        posteriors = (vote_shares(crowd), dawid_skene(crowd), one_coin(crowd), torch.from_numpy(h),
                      torch.from_numpy(ours.labels.posterior))
        copiers += count_copiers(crowd, truth.numpy(), rate, pairs, ours.copies.representative)
        found.append([100 * (p.argmax(1) == truth)[seen].double().mean().item() for p in posteriors])
        errors.append(calibration_error(posteriors[-1][seen], truth[seen]))
        print(seed, f"{crowd.classes} classes, {len(crowd)} items, {crowd.annotators} people, {len(crowd.label)} labels:",
              ", ".join(f"{way} {right:.1f}" for way, right in zip(ways, found[-1], strict=True)), flush=True)
    found = np.array(found)
    print("mean:", ", ".join(f"{way} {right:.2f}" for way, right in zip(ways, found.mean(0), strict=True)))
    print(f"expected calibration error, mean: {np.mean(errors):.3f}; more than 5 points below",
          ", ".join(f"{way} {(found[:, 4] < found[:, k] - 5).sum()}" for k, way in enumerate(ways[:4])))
    print(f"copiers that copy {RATE:.0%} or more and share {SHARED} errors or more: {copiers[0]} of {copiers[1]} found; "
          f"{copiers[2]} annotators called copies of somebody else")


def small(crowds=40):
    print("| classes | people | majority vote | labels.csv | unanimous items overturned |\n|" + " --- |" * 5)
    for classes, people in ((2, 3), (2, 5), (3, 3), (3, 5)):
        found = []
        for seed in range(crowds):
            random = np.random.default_rng(seed)
            truth = random.integers(classes, size=SMALL)
            right = random.random((SMALL, people)) < random.uniform(.7, .8, people)
            wrong = (truth[:, None] + random.integers(1, classes, (SMALL, people))) % classes
            model = LabelModel(CrowdLabels.from_dense(np.where(right, truth[:, None], wrong), classes))
            label, vote = model.labels().posterior.argmax(1), model.votes.argmax(1)
            overturned = (label != vote)[model.votes.max(1) == people].sum()
            found.append(((vote == truth).mean(), (label == truth).mean(), overturned))
        vote, label, overturned = np.mean(found, 0)
        print(f"| {classes} | {people} | {100 * vote:.1f} | {100 * label:.1f} | {overturned * crowds:.0f} |")


def sparse(crowds=8):
    names = "classes", "labels an item", "majority vote", "Dawid-Skene", "labels.csv", "most items in one class"
    print("| " + " | ".join(names) + " |\n|" + " --- |" * len(names))
    for classes, more in product((2, 5), (.05, .2, .5, .9)):
        found = []
        for seed in range(crowds):
            random = np.random.default_rng(seed)
            people = int(random.choice([6, 12, 40]))
            truth, usual = random.integers(classes, size=SPARSE), random.dirichlet(np.full(classes, .8), people)
            knows = random.random((SPARSE, people)) < random.uniform(.1, .6, people)
            said = (random.random((SPARSE, people, 1)) > usual.cumsum(1)[:, :-1]).sum(2)
            dense = np.where(knows, truth[:, None], said)
            dense[random.random(dense.shape).argsort(1) >= 1 + (random.random((SPARSE, 1)) < more)] = -1
            crowd = CrowdLabels.from_dense(dense, classes)
            labels = LabelModel(crowd).labels().posterior.argmax(1)
            votes, skene = (p.argmax(1).numpy() for p in (vote_shares(crowd), dawid_skene(crowd)))
            found.append([*((way == truth).mean() for way in (votes, skene, labels)), np.bincount(labels).max() / SPARSE])
        cells = " | ".join(f"{100 * value:.1f}" for value in (*np.mean(found, 0)[:3], np.max(found, 0)[3]))
        print(f"| {classes} | {1 + more:.2f} | {cells} |")


if __name__ == "__main__":
    if set(sys.argv[1:]) <= {"-h", "--help"}:
        sys.exit(__doc__)
    if sys.argv[1] == "small":
        small(*map(int, sys.argv[2:]))
    elif sys.argv[1] == "sparse":
        sparse(*map(int, sys.argv[2:]))
    else:
        main(*map(int, sys.argv[1:3]), "copies" in sys.argv[3:])
