"""Epochs, methods and labels chosen without the truth: what is held out, what is kept, resume, bad shares."""
import csv
import json
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import digits
from common.crowd.labels import CrowdLabels
from common.data import dataset as dataset_module
from common.data.dataset import Items, synthesized
from common.data.features import FeatureSet
from common.system.errors import UserError
from common.training import loop
from common.training.epoch import end_epoch, train_folds
from common.training.estimates import forecast_held_out, say_label_switching, with_label_model
from common.training.executor import SERIAL
from common.training.experiment import Experiment
from common.training.learner import fold_models
from common.training.predictions import predict_all
from common.training.selection import keep_best, make_plan, reported_epochs
from common.training.stages import build_stage
from conftest import load_script

digits_main = load_script("Digits")
CROWD = ("--select", "crowd", "--train-size", 300, "--test-size", 100, "--device", "cpu")


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))

pytestmark = pytest.mark.usefixtures("blank_pictures")


def run(folder, *arguments):
    status = digits_main.main([*map(str, (*CROWD, *arguments)), "--out", str(folder)])
    return status, json.loads((folder / "summary.json").read_text()), read_csv(folder / "metrics.csv")


def learners_of(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["learners"]


def test_reported_epochs_by_hand():
    """Neither the best nor the selected epoch is the last one; of equal ones the first counts."""
    accuracy, score = [.5, .9, .9, .7], [-1.2, -1.5, -1., -1.1]
    rows = [{"epoch": k + 1, "test_accuracy": a, "test_auc": None, "held_out_log_likelihood": s}
            for k, (a, s) in enumerate(zip(accuracy, score, strict=True))]
    found = reported_epochs(rows, "crowd")
    assert found["best_epoch"] == 2 and found["best"]["test_accuracy"] == .9 and found["last"]["test_accuracy"] == .7
    assert found["selected_epoch"] == 3 and found["selected"]["test_accuracy"] == .9
    forecaster = [{key: row[key] for key in ("epoch", "test_accuracy", "test_auc")} for row in rows]
    forecaster[2]["test_accuracy"] = .6
    assert reported_epochs(forecaster, "crowd", found)["selected"]["test_accuracy"] == .6
    assert reported_epochs(rows)["best_epoch"] == 2 and "selected" not in reported_epochs(rows)
    unknown = [row | {"test_accuracy": None} for row in rows]
    assert reported_epochs(unknown, "crowd")["best"] is None and reported_epochs(unknown, "crowd")["selected_epoch"] == 3


def test_the_first_of_equal_epochs_is_kept():
    learner = SimpleNamespace(method=torch.nn.Linear(1, 1), best=None)
    for epoch, score in ((1, -2.), (2, -1.), (3, -1.), (4, -3.)):
        torch.nn.init.constant_(learner.method.weight, epoch)
        keep_best([learner], epoch, score)
    assert learner.best["epoch"] == 2 and learner.best["score"] == -1 and learner.best["method"]["weight"].item() == 2


def test_a_method_ends_when_its_best_epoch_is_old(tmp_path, monkeypatch, capsys):
    """Each one by itself; the run ends with the last of them, and one that was stopped ends in the same way."""
    arguments = ("--expertise", 0, "--epochs", 30, "--folds", 2, "--methods", "doctor-net", "aggnet", "--patience", 1,
                 "--train-size", 120, "--test-size", 50)
    _, whole, rows = run(tmp_path / "whole", *arguments)
    last = {name: max(int(row["epoch"]) for row in rows if row["method"] == name) for name in ("doctor-net", "aggnet")}
    assert last == {name: method["selected_epoch"] + 1 for name, method in whole["methods"].items()}
    assert len(set(last.values())) == 2 and max(last.values()) < 30
    said = capsys.readouterr().out
    assert all(f"{name} ends here: the best epoch was 1 epoch ago" in said for name in last)

    evaluate = loop.evaluate

    def stop(learners, dataset, plan, epoch, *arguments):
        if epoch == max(last.values()):
            raise KeyboardInterrupt
        return evaluate(learners, dataset, plan, epoch, *arguments)
    monkeypatch.setattr(loop, "evaluate", stop)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", *arguments)
    monkeypatch.setattr(loop, "evaluate", evaluate)
    run(tmp_path / "stopped", *arguments)
    for name in ("labels.csv", "annotators.csv"):
        assert (tmp_path / "whole" / name).read_text() == (tmp_path / "stopped" / name).read_text()
    assert not any(state["optimizer"] for state in learners_of(tmp_path / "whole").values())  # as after the last epoch
    (tmp_path / "whole" / "summary.json").unlink()  # killed behind its last epoch
    assert run(tmp_path / "whole", *arguments)[1]["methods"]["aggnet"]["last"] == whole["methods"]["aggnet"]["last"]


def twenty_items(seed=0, **how):
    """(Items, the Plan of four folds) of twenty items."""
    crowd = CrowdLabels.from_dense(np.arange(60).reshape(20, 3) % 2, 2)
    items = Items(FeatureSet(torch.zeros(20, 2)), torch.arange(20) % 2, list(map(str, range(20))), crowd, **how)
    return items, make_plan(items, SimpleNamespace(select="crowd", folds=4, held_out=None, seed=seed))


class SaysItsFold(torch.nn.Module):
    """Predicts, and forecasts, the number of its fold."""

    def __init__(self, fold):
        super().__init__()
        self.fold = fold

    def predict(self, inputs):
        return torch.full((len(inputs), 1), float(self.fold))

    def forecast(self, h, crowd):
        return (10 + h).expand(-1, 2)


def test_without_learners_nothing_is_fetched():
    assert predict_all([], None) == []


def test_a_prediction_is_by_the_fold_that_was_not_trained_on_the_item():
    items, plan = twenty_items()
    models = [SimpleNamespace(name="m", fold=fold, method=SaysItsFold(fold), watch=nullcontext(), executor=SERIAL)
              for fold in range(4)]
    by = plan.predict_held_out(models, items)["m"][:, 0].long().tolist()
    assert sorted(by) == [fold for fold in range(4) for _ in range(5)]
    for item, fold in enumerate(by):
        assert [item in f.train for f in plan.folds] == [k != fold for k in range(4)]
    forecasts = forecast_held_out(models, items, plan)
    assert forecasts.tolist() == [[10 + fold] * 2 for fold in by]


def test_folds_are_those_of_the_seed():
    folds = [[fold.prediction_items.tolist() for fold in twenty_items(seed)[1].folds] for seed in (0, 0, 1)]
    assert folds[0] == folds[1] != folds[2]


def test_gold_labels_are_certain_in_every_estimate():
    images = SimpleNamespace(gold=torch.tensor([1, -1]), truth=torch.zeros(2))
    crowd = SimpleNamespace(labels=SimpleNamespace(posterior=np.array([[0, 1], [.5, .5]])))
    found = with_label_model({"a": torch.tensor([[.75, .25], [.25, .75]])}, crowd, images)
    assert found["a"].tolist() == [[0, 1], [.25, .75]] and found["label-model"].tolist() == [[0, 1], [.5, .5]]


def test_the_epoch_with_the_best_score_is_kept(tmp_path, capsys):
    status, summary, rows = run(tmp_path / "run", "--case", 3, "--expertise", 0, "--epochs", 4, "--folds", 3,
                                "--methods", "max-mig", "majority-vote", "one-coin")
    assert status == 0
    scores = {}
    for name in ("majority-vote", "one-coin", "max-mig"):
        theirs = [row for row in rows if row["method"] == name]
        score = [float(row["held_out_log_likelihood"]) for row in theirs]
        selected = score.index(max(score))
        method = summary["methods"][name]
        assert method["selected_epoch"] == selected + 1
        assert method["selected"]["test_accuracy"] == float(theirs[selected]["test_accuracy"])
        assert method["last"]["test_accuracy"] == float(theirs[-1]["test_accuracy"])
        scores[name] = method["held_out_log_likelihood"]
        for fold in range(3):
            state = learners_of(tmp_path / "run")[f"0/{name}/{fold}"]
            assert state["best"]["epoch"] == selected + 1 and state["best"]["score"] == max(score)
    assert summary["best_method"] == max(scores, key=scores.get) == "max-mig"
    assert summary["methods"]["max-mig-forecaster"]["selected_epoch"] == summary["methods"]["max-mig"]["selected_epoch"]
    table = capsys.readouterr().out.split("best test")[1]
    assert table.index("max-mig") < table.index("majority-vote")  # ranked by score
    assert summary["label_source"] == "label-model" and (
        summary["label_accuracy"] == summary["label_estimates"]["label-model"])
    labels = read_csv(tmp_path / "run" / "labels.csv")
    assert {"dawid-skene", "one-coin", "max-mig", "max-mig-posterior", "max-mig-forecaster", "label-model"} <= set(labels[0])
    assert np.mean([row["label"] == row["truth"] for row in labels]) == summary["label_accuracy"]
    votes = np.mean([row["majority_vote"] == row["truth"] for row in labels])
    assert summary["label_accuracy"] > votes + .2
    flags = [row["flag"] for row in read_csv(tmp_path / "run" / "annotators.csv")]
    assert flags[10:] == ["copies senior 0", "copies senior 2"]
    with np.load(tmp_path / "run" / "confusion.npz") as confusion:
        assert {confusion[name].shape for name in ("estimated", "model", "true")} == {(12, 10, 10)}


def test_label_source_follows_the_estimate_that_is_named(tmp_path):
    _, summary, _ = run(tmp_path / "run", "--epochs", 1, "--folds", 2, "--methods", "majority-vote", "--label-source",
                        "dawid-skene")
    labels = read_csv(tmp_path / "run" / "labels.csv")
    assert summary["label_source"] == "dawid-skene" and all(row["label"] == row["dawid-skene"] for row in labels)
    with pytest.raises(UserError, match="--label-source max-mig-forecaster: there is no such estimate"):
        run(tmp_path / "other", "--epochs", 1, "--held-out", .2, "--methods", "max-mig", "--label-source",
            "max-mig-forecaster")
    with pytest.raises(UserError, match="--label-source nobody: there is no such estimate; choose from majority-vote"):
        run(tmp_path / "other", "--epochs", 1, "--folds", 2, "--methods", "majority-vote", "--label-source", "nobody")


def test_no_truth_reaches_any_choice(tmp_path, monkeypatch):
    """Other truths, the same weights, epochs, scores, labels and flags, bit for bit."""
    arguments = ("--case", 2, "--epochs", 2, "--folds", 2, "--methods", "max-mig", "aggnet", "dawid-skene")
    _, honest, rows = run(tmp_path / "honest", *arguments)
    make = dataset_module.synthesized

    def lied_to(*arguments):
        dataset = make(*arguments)
        for items in (dataset.train, dataset.test):
            items.truth.copy_(items.truth.flip(0))
        return dataset
    monkeypatch.setattr(dataset_module, "synthesized", lied_to)
    _, lied, other = run(tmp_path / "lied", *arguments)
    assert [row["held_out_log_likelihood"] for row in rows] == [row["held_out_log_likelihood"] for row in other]
    assert honest["best_method"] == lied["best_method"] and honest["label_accuracy"] != lied["label_accuracy"]
    for name, method in honest["methods"].items():
        assert method["selected_epoch"] == lied["methods"][name]["selected_epoch"]
    for name in ("labels.csv", "annotators.csv"):
        pairs = zip(read_csv(tmp_path / "honest" / name), read_csv(tmp_path / "lied" / name), strict=True)
        for a, b in pairs:
            assert {k: v for k, v in a.items() if "tru" not in k} == {k: v for k, v in b.items() if "tru" not in k}
    one, two = learners_of(tmp_path / "honest"), learners_of(tmp_path / "lied")
    assert all(torch.equal(value, two[name]["method"][key]) for name in one for key, value in one[name]["method"].items())


@pytest.mark.parametrize("share", [{"folds": 3, "held_out": None}, {"held_out": .3}])
def test_held_out_labels_reach_no_gradient(share):
    """Whatever the crowd says of a fold's held-out items, its learners come out the same, bit for bit; others do not."""
    options = digits_main.parse(digits_main.SynthesizedOptions, digits_main.PROTOCOL, "", [
        "--case", "3", "--select", "crowd", "--methods", "max-mig", "aggnet", "crowd-layer", "dawid-skene",
        "majority-vote", "doctor-net", "mbem", "one-coin"])
    options = replace(options, epochs=1, **share)
    train, test = digits.load()
    keep = torch.arange(240)
    dataset = synthesized(train.select(keep), test.select(keep), list("0123456789"),
                                      digits.EXPERTS[0], options)
    plan = make_plan(dataset.train, options)
    held_out = torch.ones(240, dtype=torch.bool)
    held_out[plan.folds[0].train] = False
    assert 60 < held_out.sum() < 90
    crowd = dataset.train.crowd
    label = torch.where(held_out[crowd.item], (crowd.label + 3) % 10, crowd.label)
    lied = replace(dataset.train, crowd=CrowdLabels(crowd.annotator, label, crowd.offsets, crowd.annotators, 10))
    states = []
    for items in (dataset.train, lied):
        data = replace(dataset, train=items)
        experiment = Experiment(data, digits_main.PROTOCOL, options, plan, torch.device("cpu"), "float32", SERIAL)
        learners = build_stage(experiment, 0, [], {})
        train_folds(learners, items, plan, 1, options, 0)
        end_epoch(learners, items)
        states.append(fold_models(learners))
    for name, models in states[0].items():
        for one, two in zip(models, states[1][name], strict=True):
            same = all(torch.equal(a, b) for a, b in zip(one.method.parameters(), two.method.parameters(), strict=True))
            assert same == (one.fold == 0)


def test_a_share_held_out_once(tmp_path):
    status, summary, rows = run(tmp_path / "run", "--epochs", 2, "--held-out", .25, "--methods", "max-mig")
    assert status == 0 and list(learners_of(tmp_path / "run")) == ["0/max-mig/0"]
    assert summary["methods"]["max-mig"]["held_out_log_likelihood"] and len(read_csv(tmp_path / "run" / "labels.csv")) == 300


@pytest.mark.parametrize(("flags", "message"), [
    (("--held-out", "nan"), "--held-out: expected a number between 0 and 1"),
    (("--held-out", 1.5), "--held-out: expected a number between 0 and 1"),
    (("--held-out", .001), "--held-out 0.001: leaves 0 items with labels of 0 classes to be held out"),
    (("--held-out", .9999), "--held-out 0.9999: leaves 0 items with labels of 0 classes to be trained on"),
    (("--folds", 1), "--folds: expected a whole number from 2 on"),
    (("--folds", 301), "--folds 301: there are 300 training items"),
    (("--folds", 2, "--batch-size", 151), "--batch-size 151: larger than the training set of 150 items"),
])
def test_bad_shares(tmp_path, flags, message):
    with pytest.raises(UserError) as error:
        run(tmp_path / "run", "--case", 1, "--epochs", 1, *flags)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("stage_end", ["last", "selected"])
def test_kd_crowd_resumes_bit_for_bit_with_the_kept_weights(tmp_path, monkeypatch, stage_end):
    arguments = ("--expertise", 0, "--epochs", 2, "--folds", 2, "--methods", "kd-crowd-max-mig", "--stage-end", stage_end,
                 "--train-size", 200, "--test-size", 50)
    _, whole, rows = run(tmp_path / "whole", *arguments)
    evaluate, calls = loop.evaluate, []

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(*arguments)
    monkeypatch.setattr(loop, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", *arguments)
    _, resumed, again = run(tmp_path / "stopped", *arguments)

    def numbers(rows):
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    assert numbers(rows) == numbers(again)
    for name in ("labels.csv", "annotators.csv", "memorization.csv", "annotator_error.csv"):
        assert (tmp_path / "whole" / name).read_text() == (tmp_path / "stopped" / name).read_text()
    assert {row["stage"] for row in rows} == {"0", "1", "2"}
    assert whole["methods"]["kd-crowd-max-mig"]["selected_epoch"] == resumed["methods"]["kd-crowd-max-mig"]["selected_epoch"]


def test_few_items_take_fewer_folds():
    """Of ten items of two classes some fold of five has one class; where that is so by default, folds are larger."""
    truth = torch.arange(10) % 2
    crowd = CrowdLabels.from_dense(truth[:, None].repeat(1, 3).numpy(), 2)
    items = Items(FeatureSet(torch.randn(10, 2)), truth, list(map(str, range(10))), crowd)
    found = set()
    for seed in range(20):
        options = SimpleNamespace(select="crowd", folds=None, held_out=None, seed=seed)
        plan = make_plan(items, options)
        found.add(len(plan.folds))
        for fold in plan.folds:
            assert len(truth[fold.prediction_items].unique()) == 2
        if len(plan.folds) < 5:
            options.folds = 5
            with pytest.raises(UserError, match="--folds 5: leaves 2 items with labels of 1 class to be held out"):
                make_plan(items, options)
    assert len(found) > 1


def test_a_classifier_whose_classes_are_switched_is_said(capsys):
    posterior, answered = np.eye(2)[np.arange(10) % 2], np.arange(10) < 8
    say_label_switching(posterior, posterior, answered)
    assert capsys.readouterr().out == ""
    say_label_switching(posterior[:, ::-1], posterior, answered)
    assert "the classifier agrees with the labels on 0% of the items, less than chance" in capsys.readouterr().out


def test_a_flag_that_was_not_given_is_not_blamed():
    """Of ten items one alone is of the second class: no two folds have both."""
    crowd = CrowdLabels.from_dense((np.arange(10) == 3).astype(int)[:, None].repeat(3, 1), 2)
    items = Items(FeatureSet(torch.randn(10, 2)), torch.zeros(10, dtype=torch.long), list(map(str, range(10))), crowd)
    options = SimpleNamespace(select="crowd", folds=None, held_out=None, seed=0)
    with pytest.raises(UserError, match="^--select crowd: leaves 5 items with labels of 1 class .* or --select none$"):
        make_plan(items, options)


def test_where_all_methods_break_in_the_first_fold_the_run_says_so(tmp_path, capsys, monkeypatch):
    from common.methods.max_mig import MaxMIG
    monkeypatch.setattr(MaxMIG, "loss_from", lambda self, logits, batch: logits.sum() * float("nan"))
    status, summary, _ = run(tmp_path / "run", "--epochs", 1, "--folds", 2, "--methods", "max-mig")
    assert status == 1
    assert summary["methods"]["max-mig"]["failure"] == "loss not finite in epoch 1, batch 1"
