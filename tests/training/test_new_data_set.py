"""A Dataset that is built by hand, as docs/contributing.md describes it."""
import csv
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from common.crowd.labels import CrowdLabels
from common.data.dataset import Dataset, Items
from common.data.features import FeatureSet
from common.methods.max_mig import MaxMIG
from common.names import PAPER_METHODS
from common.networks.papers import feature_net
from common.system.errors import UserError
from common.training.executor import SERIAL
from common.training.experiment import Experiment
from common.training.options import Options
from common.training.protocol import Protocol
from common.training.run import run
from common.training.selection import Fold
from common.training.stages import fold_setting
from OwnData.options import PROTOCOL

NAMES = ["ann", "bob", "cas", "always 0"]


def make(known):
    """(Dataset, truth): 120 items of three classes with two labels each, from a table of (item, annotator, label)."""
    random = np.random.default_rng(0)
    truth = np.arange(120) % 3
    features = torch.from_numpy((4 * np.eye(3)[truth] + random.normal(size=(120, 3))).astype(np.float32))
    item = np.repeat(np.arange(120), 2)
    annotator = np.concatenate([random.permutation(4)[:2] for _ in truth])
    label = np.where(random.random(240) < .8, truth[item], random.integers(0, 3, 240))
    label[annotator == 3] = 0
    shuffled = random.permutation(240)  # a table in any order
    crowd = CrowdLabels.from_triples(item[shuffled], annotator[shuffled], label[shuffled], 120, 4, 3)
    labels = torch.from_numpy(truth) if known else torch.full((120,), -1)
    names = [f"item {i}" for i in range(120)]
    items = Items(FeatureSet(features), labels, names, crowd)
    return Dataset(items, Items(items.inputs, labels, names), list("xyz"), NAMES), truth


def train(dataset, folder, methods):
    protocol = Protocol("own", partial(feature_net, 3, 3), 20, 16, 1e-2, 1e-2, (1 / 3,) * 3, PAPER_METHODS)
    options = Options(methods=methods, device="cpu", epochs=20, batch_size=16, augment="none", out=str(folder))
    status = run(dataset, protocol, options)
    return status, json.loads((folder / "summary.json").read_text())["methods"]


def test_labels_are_enough(tmp_path, capsys):
    """No truth of any item: the labels and the annotators come out all the same; what needs the truth is left out."""
    methods = ["max-mig", "kd-crowd-max-mig", "true-label"]
    dataset, truth = make(known=True)
    status, scored = train(dataset, tmp_path / "known", methods)
    assert status == 0 and scored["true-label"]["last"]["test_accuracy"] > .9
    status, summary = train(make(known=False)[0], tmp_path / "unknown", methods)
    assert status == 0 and list(summary) == [name for name in scored if name != "true-label"]
    said = capsys.readouterr().out
    assert "true-label is left out" in said and "KD-Crowd's two figures, of the annotators' errors, are left out" in said
    assert all(method["last"] is None and method["best"] is None for method in summary.values())
    left = {name: {file.name for file in (tmp_path / name).iterdir()} for name in ("known", "unknown")}
    assert left["known"] - left["unknown"] == {"curves.png", "memorization.csv", "memorization.png",
                                               "annotator_error.csv", "annotator_error.png"}
    with open(tmp_path / "unknown" / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["item"] for row in rows] == [f"item {i}" for i in range(120)] and not any(row["truth"] for row in rows)
    assert np.mean([int(row["label"]) == t for row, t in zip(rows, truth, strict=True)]) > .9
    with open(tmp_path / "unknown" / "annotators.csv", newline="") as file:
        agreement = {row["annotator"]: float(row["agreement"]) for row in csv.DictReader(file)}
    assert list(agreement) == NAMES and min(agreement, key=agreement.get) == "always 0"


def test_true_label_needs_the_truth(tmp_path):
    with pytest.raises(UserError, match="true-label: no training item's true label is known"):
        train(make(known=False)[0], tmp_path, ["true-label"])


@pytest.mark.parametrize(("truth", "said"), [([1], True), ([0, 1], False), ([-1], False)])
def test_an_auc_that_cannot_be_computed_says_why(tmp_path, capsys, truth, said):
    random = np.random.default_rng(0)
    items = Items(FeatureSet(torch.from_numpy(random.normal(size=(40, 3)).astype(np.float32))), torch.arange(40) % 2,
                  list(range(40)), CrowdLabels.from_dense(random.integers(0, 2, (40, 3)), 2))
    test = Items(items.inputs, torch.tensor(truth).repeat(40 // len(truth)), items.names)
    protocol = Protocol("own", partial(feature_net, 3, 2), 1, 16, 1e-2, 1e-2, (.5, .5), PAPER_METHODS)
    options = Options(methods=["majority-vote"], device="cpu", epochs=1, batch_size=16, augment="none",
                      out=str(tmp_path / "x"))
    assert run(Dataset(items, test, ["no", "yes"], list("abc")), protocol, options) == 0
    why = "no AUC: all test items whose truth is known are of class yes; it needs both classes"
    assert (why in capsys.readouterr().out) == said
    last = json.loads((tmp_path / "x" / "summary.json").read_text())["methods"]["majority-vote"]["last"]
    assert (last is not None and last["test_auc"] is not None) == (len(truth) == 2)


def test_the_prior_of_own_data_starts_at_the_vote_shares_of_the_fold():
    """With one pseudo-count for each class; the labels of held-out items have no part in it."""
    dense = np.array([[0, 0, -1], [0, 1, 0], [1, -1, -1], [-1, -1, -1], [2, 2, 2]])
    items = Items(FeatureSet(torch.zeros(5, 3)), torch.full((5,), -1), list(range(5)), CrowdLabels.from_dense(dense, 3))
    protocol = replace(PROTOCOL, network=lambda precision: feature_net(3, 3, precision))
    everything = torch.arange(5)
    for train_items, counts in ((everything, [5 / 3 + 1, 4 / 3 + 1, 2]), (everything[:4], [5 / 3 + 1, 4 / 3 + 1, 1])):
        fold = Fold(0, train_items, everything)
        dataset = Dataset(items, items, list("abc"), list("xyz"))
        experiment = Experiment(dataset, protocol, Options(epochs=1), None, torch.device("cpu"), "float32", SERIAL)
        setting = fold_setting(experiment, fold, "votes")
        np.testing.assert_allclose(MaxMIG(setting).report()["prior"], np.array(counts) / np.sum(counts), rtol=1e-5)
