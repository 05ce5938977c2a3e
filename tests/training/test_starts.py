"""The start of each method and fold, chosen without the truth."""
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import digits
from common.data.dataset import synthesized
from common.system.errors import UserError
from common.training import loop, starts
from common.training.epoch import end_epoch, train_folds
from common.training.executor import SERIAL
from common.training.experiment import Experiment
from common.training.selection import make_plan
from common.training.stages import build_stage
from conftest import load_script

digits_main = load_script("Digits")
CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("blank_pictures")


def run(folder, *arguments):
    status = digits_main.main([*map(str, ("--case", 2, "--select", "crowd", "--folds", 2, "--train-size", 300, "--test-size",
                                          100, "--device", "cpu", *arguments)), "--out", str(folder)])
    return status, json.loads((folder / "summary.json").read_text())


def test_the_choice_is_the_best_of_three_trainings():
    """For each fold the start with the highest log-likelihood of its held-out labels, at the start's best epoch."""
    options = digits_main.parse(digits_main.SynthesizedOptions, digits_main.PROTOCOL, "", [
        "--case", "2", "--select", "crowd", "--folds", "2", "--epochs", "3", "--start", "auto", "--methods", "aggnet",
        "crowd-layer", "kd-crowd-max-mig"])
    train, test = digits.load()
    dataset = synthesized(train.select(torch.arange(240)), test.select(torch.arange(50)), list("0123456789"),
                          digits.EXPERTS[1], options)
    plan = make_plan(dataset.train, options)
    experiment = Experiment(dataset, digits_main.PROTOCOL, options, plan, CPU, "float32", SERIAL)
    chosen = starts.choose_starts(experiment)
    scores = {}
    for start in starts.STARTS:
        trial = replace(options, start=start)
        learners = build_stage(replace(experiment, options=trial), 0, [], {})
        epochs = []
        for epoch in (1, 2, 3):
            train_folds(learners, dataset.train, plan, epoch, trial, 0)
            end_epoch(learners, dataset.train)
            epochs.append(plan.score_folds(learners, dataset.train))
        for name in epochs[0]:
            scores.setdefault(name, []).append(max((each[name] for each in epochs), key=sum))
    for name in ("aggnet", "max-mig"):
        expected = [max(zip(of_fold, starts.STARTS, strict=True))[1] for of_fold in zip(*scores[name], strict=True)]
        assert chosen[name] == expected
    assert set(chosen) == {"aggnet", "max-mig"} | ({"crowd-layer"} if digits_main.PROTOCOL.crowd_layer_start != "identity"
                                                  else set())
    learners = build_stage(experiment, 0, [], chosen)
    for learner in learners:
        if learner.name == "aggnet":
            of_one = replace(options, start=chosen["aggnet"][learner.fold])
            alone = build_stage(replace(experiment, options=of_one), 0, [], {})
            same = next(other for other in alone if (other.name, other.fold) == ("aggnet", learner.fold))
            assert torch.equal(learner.method.posterior, same.method.posterior)


def in_three_folds(items, copies):
    """(Items, Plan, learners): max-mig on so many copies of each of the first digits."""
    options = digits_main.parse(digits_main.SynthesizedOptions, digits_main.PROTOCOL, "", [
        "--case", "1", "--select", "crowd", "--folds", "3", "--methods", "max-mig"])
    train, test = digits.load()
    dataset = synthesized(train.select(torch.arange(items)), test.select(torch.arange(20)), list("0123456789"),
                          digits.EXPERTS[1], options)
    train = replace(dataset.train.select(torch.arange(items).repeat_interleave(copies)), copies=copies)
    plan = make_plan(train, options)
    experiment = Experiment(replace(dataset, train=train), digits_main.PROTOCOL, options, plan, CPU, "float32", SERIAL)
    return train, plan, build_stage(experiment, 0, [], {})


def test_fold_scores_are_sums_over_the_held_out_labels():
    train, plan, learners = in_three_folds(90, 1)
    sums = plan.score_folds(learners, train)["max-mig"]
    assert len(sums) == 3
    labels = len(train.crowd.label)
    assert sum(sums) / labels == pytest.approx(plan.score(learners, train, None)["max-mig"], rel=1e-12)


def test_fold_scores_count_an_items_copies_once():
    train, plan, learners = in_three_folds(45, 2)
    found = plan.score_held_out(learners, train)["max-mig"].items
    images = [fold.prediction_items[::2] // 2 for fold in plan.folds]
    assert sorted(torch.cat(images).tolist()) == list(range(45))
    np.testing.assert_allclose(plan.score_folds(learners, train)["max-mig"], [found[part].sum() for part in images])


def test_a_run_chooses_resumes_and_says_so(tmp_path, capsys, monkeypatch):
    flags = "--start", "auto", "--methods", "max-mig", "majority-vote", "--epochs", 3
    status, summary = run(tmp_path / "whole", *flags)
    found = summary["methods"]["max-mig"]["starts"]
    assert status == 0 and len(found) == 2 and set(found) <= set(starts.STARTS)
    assert "starts" not in summary["methods"]["majority-vote"]
    assert "--start auto: max-mig starts from " in capsys.readouterr().out
    stop_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", *flags)
    monkeypatch.undo()
    monkeypatch.setattr("common.training.loop.choose_starts", lambda *_: pytest.fail("it chooses again"))
    _, resumed = run(tmp_path / "stopped", *flags)
    assert resumed["methods"]["max-mig"]["last"] == summary["methods"]["max-mig"]["last"]
    assert resumed["methods"]["max-mig"]["starts"] == found


def stop_after(monkeypatch, epoch):
    """Control-C at the beginning of the next epoch of the run itself."""
    train_folds_ = loop.train_folds

    def stopping(learners, items, plan, number, options, stage):
        if number > epoch:
            raise KeyboardInterrupt
        return train_folds_(learners, items, plan, number, options, stage)
    monkeypatch.setattr(loop, "train_folds", stopping)


@pytest.mark.parametrize("value", [None, [], {}, {"max-mig": "votes"}, {"max-mig": ["votes"]},
                                   {"max-mig": ["votes", "auto"]}, {"max-mig": [["votes"], "votes"]}])
def test_what_is_no_choice(value):
    options = digits_main.SynthesizedOptions(start="auto", methods=["majority-vote", "max-mig"])
    plan = SimpleNamespace(folds=[None, None])
    experiment = Experiment(None, digits_main.PROTOCOL, options, plan, CPU, "float32", SERIAL)
    assert not starts.are_starts(value, experiment)
    good = {"max-mig": ["votes", "label-model"]}
    assert starts.are_starts(good, experiment)
    options.start = "votes"
    assert starts.are_starts({}, experiment)
    assert not starts.are_starts(good, experiment)


def test_auto_needs_held_out_labels(tmp_path):
    with pytest.raises(UserError, match="--start auto: needs --select crowd"):
        digits_main.main(["--start", "auto", "--epochs", "1", "--device", "cpu", "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_start_whose_training_fails_is_not_chosen(monkeypatch):
    """Though its first epoch was the best of all: the run would fail as it does."""
    def build_stage(experiment, *_):
        return [SimpleNamespace(name="max-mig", start=experiment.options.start, failure=None)]

    def train_folds(learners, train, plan, epoch, *_):
        if epoch == 2 and learners[0].start == "dawid-skene":
            learners[0].failure = "loss not finite"
    scores = {"votes": [0.], "dawid-skene": [2.], "label-model": [1.]}
    plan = SimpleNamespace(folds=[None],
                           score_folds=lambda learners, _: {each.name: scores[each.start] for each in learners})
    for name, stub in (("build_stage", build_stage), ("train_folds", train_folds), ("end_epoch", lambda *_: None)):
        monkeypatch.setattr(starts, name, stub)
    options = digits_main.parse(digits_main.SynthesizedOptions, digits_main.PROTOCOL, "", [
        "--select", "crowd", "--epochs", "3", "--start", "auto", "--methods", "max-mig"])
    dataset = SimpleNamespace(train=None)
    experiment = Experiment(dataset, digits_main.PROTOCOL, options, plan, CPU, "float32", SERIAL)
    assert starts.choose_starts(experiment) == {"max-mig": ["label-model"]}
