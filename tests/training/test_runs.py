"""The digits' script as users run it: what it leaves, resume, refusal, errors."""
import csv
import json
import os
import re
import resource
import signal
import time
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from common.data import dataset as dataset_module
from common.methods.aggregate_then_train import MajorityVote
from common.names import SYNTHESIZED_METHODS
from common.output.run_folder import RunFolder
from common.system.errors import UserError
from common.training import epoch, loop
from conftest import load_script

digits_main = load_script("Digits")
LEFT = {"agreement.csv", "next.csv", "config.json", "checkpoint.pt",
        "metrics.csv", "summary.json", "labels.csv", "annotators.csv", "confusion.npz",
        "curves.png", "confusion.png", "report.html"}

SMALL = ("--train-size", 300, "--test-size", 100)
RUN = "runs/digits-case1-high-seed0"
pytestmark = pytest.mark.usefixtures("blank_pictures")


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def numbers(folder):
    """Everything of metrics.csv but the clock."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_csv(folder / "metrics.csv")]


def weights(folder):
    learners = torch.load(folder / "checkpoint.pt", weights_only=True)["learners"]
    return {(name, key): value for name, learner in learners.items() for key, value in learner["method"].items()}


def same_weights(one, other):
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def run_in_process(tmp_path_factory):
    """Runs Digits/main.py's main() with `arguments`, in a folder of its own; returns (status, folder)."""
    def run(*arguments, folder=None):
        folder = folder or tmp_path_factory.mktemp("run")
        return digits_main.main([*map(str, SMALL), "--device", "cpu", "--out", str(folder), *map(str, arguments)]), folder
    return run


@pytest.mark.pictures
def test_a_run_leaves_its_files(command, tmp_path):
    done = command("Digits", "--case", 2, "--expertise", 0, "--epochs", 2, *SMALL)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "digits-case2-low-seed0"
    assert {file.name for file in folder.iterdir()} == LEFT
    assert str(folder.relative_to(tmp_path)) in done.stdout.splitlines()[-1]

    config = json.loads((folder / "config.json").read_text())
    assert config["flags"]["case"] == 2 and config["flags"]["epochs"] == 2 and config["flags"]["batch_size"] == 32
    assert config["versions"]["torch"] == torch.__version__ and re.fullmatch(r"[0-9a-f]{40}", config["commit"])

    reported = [*SYNTHESIZED_METHODS[:-1], "max-mig-forecaster", "true-label"]
    rows = read_csv(folder / "metrics.csv")
    assert list(rows[0]) == ["epoch", "method", "loss", "test_accuracy", "test_auc", "seconds"]
    assert [(row["epoch"], row["method"]) for row in rows] == [(e, name) for e in "12" for name in reported]
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["methods"]) == reported
    assert summary["items"] == 300 and summary["annotators"] == 15 and summary["labels"] == 4500
    for name, method in summary["methods"].items():
        accuracies = [float(row["test_accuracy"]) for row in rows if row["method"] == name]
        assert method["last"]["test_accuracy"] == accuracies[-1]
        assert method["best"]["test_accuracy"] == max(accuracies)
        assert accuracies[method["best_epoch"] - 1] == max(accuracies)
        assert f"{name} " in done.stdout and f"{100 * accuracies[-1]:.2f}" in done.stdout

    labels = read_csv(folder / "labels.csv")
    estimates = list(summary["label_estimates"])
    assert estimates == ["majority-vote", "dawid-skene", "one-coin", *reported[1:], "label-model"]
    assert list(labels[0]) == ["item", "truth", "majority_vote", "label", "confidence", *[f"p_{c}" for c in range(10)],
                               *estimates[1:]]
    for name in estimates[1:]:
        assert np.mean([row[name] == row["truth"] for row in labels]) == pytest.approx(summary["label_estimates"][name])
    assert len({row["item"] for row in labels}) == 300
    right = 0
    for row in labels:
        p = [float(row[f"p_{c}"]) for c in range(10)]
        assert sum(p) == pytest.approx(1, abs=1e-4) and p[int(row["label"])] == max(p) == float(row["confidence"])
        right += row["label"] == row["truth"]
    assert summary["label_source"] == "max-mig-forecaster"
    assert summary["methods"]["max-mig-forecaster"]["train_label_accuracy"] == pytest.approx(right / 300)
    assert summary["majority_vote_accuracy"] == pytest.approx(
        sum(row["majority_vote"] == row["truth"] for row in labels) / 300)

    annotators = read_csv(folder / "annotators.csv")
    assert [row["annotator"] for row in annotators] == [f"senior {k}" for k in range(10)] + ["junior, always 0"] * 5
    assert all(row["labels"] == "300" for row in annotators)
    zeros = sum(row["truth"] == "0" for row in labels) / 300
    assert float(annotators[-1]["true_accuracy"]) == pytest.approx(zeros)
    assert float(annotators[-1]["agreement"]) == pytest.approx(sum(row["label"] == "0" for row in labels) / 300)
    with np.load(folder / "confusion.npz") as confusion:
        estimated, true = confusion["estimated"], confusion["true"]
    assert estimated.shape == true.shape == (15, 10, 10)
    np.testing.assert_allclose(estimated.sum(2), 1, rtol=1e-4)
    np.testing.assert_array_equal(true[-1], np.eye(10)[[0] * 10])
    for row in annotators:
        assert float(row["accuracy_low"]) < float(row["estimated_accuracy"]) < float(row["accuracy_high"])
    assert [row["flag"] for row in annotators[10:]] == ["one label only"] * 5
    assert summary["flags"] == Counter(row["flag"].split(" senior")[0] for row in annotators if row["flag"])
    columns = [[float(row[name]) for row in annotators] for name in ("true_accuracy", "estimated_accuracy")]
    assert summary["annotator_correlation"]["estimated"] == pytest.approx(stats.spearmanr(*columns)[0])
    assert summary["annotator_correlation"].keys() == {"estimated", "majority-vote", "dawid-skene"}
    assert all((row["common_label"], float(row["common_share"])) == ("0", 1) for row in annotators[10:])
    for picture in ("curves.png", "confusion.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")

    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    again = command("Digits", "--case", 2, "--expertise", 0, "--epochs", 2, *SMALL)
    assert again.returncode == 0 and "this run is done" in again.stdout
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before

    other = command("Digits", "--case", 2, "--expertise", 0, "--epochs", 3, *SMALL)
    assert other.returncode == 2 and other.stderr.count("\n") == 1
    assert "epochs is 2 there and 3 here" in other.stderr
    fresh = command("Digits", "--case", 2, "--expertise", 0, "--epochs", 3, *SMALL, "--methods", "true-label", "--fresh")
    assert fresh.returncode == 0 and len(numbers(folder)) == 3


def test_killed_and_resumed_is_bit_for_bit_the_same(start, command, tmp_path):
    """With the checkpoint of the first epoch, and with those of all."""
    arguments = ("Digits", "--case", 1, "--epochs", 3, "--augment", "fresh", "--train-size", 160, "--test-size", 100)
    whole = command(*arguments, "--out", "whole")
    assert whole.returncode == 0 and "going on" not in whole.stdout
    for each_epoch, killed_at, last in ((False, 1, 1), (True, 2, 2)):
        killed = tmp_path / f"killed-{last}"
        process = start(*arguments, "--out", killed, each_epoch=each_epoch, killed_at=killed_at)
        said = process.communicate()
        assert process.returncode == -signal.SIGKILL, said
        assert torch.load(killed / "checkpoint.pt", weights_only=True)["epoch"] == last
        resumed = command(*arguments, "--out", killed)
        assert resumed.returncode == 0 and f"going on after epoch {last}" in resumed.stdout
        assert numbers(killed) == numbers(tmp_path / "whole")
        assert same_weights(killed, tmp_path / "whole")
        for name in ("labels.csv", "annotators.csv"):
            assert (killed / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.parametrize(("seconds", "epochs"), [(0, [1, 2, 3, 4]), (60, [1, 4])])
def test_checkpoints_and_what_stands_beside_them(run_in_process, tmp_path_factory, monkeypatch, seconds, epochs):
    """The first epoch, the last, and between them what is older than the interval; metrics.csv is of the same epoch."""
    folder, saved, save = tmp_path_factory.mktemp("run"), [], RunFolder.save

    def spy(self, state, files):
        save(self, state, files)
        there = torch.load(folder / "checkpoint.pt", weights_only=True)
        assert there["rows"] == state["rows"] and len(numbers(folder)) == there["epoch"]
        saved.append(there["epoch"])
    monkeypatch.setattr(RunFolder, "save", spy)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", seconds)
    run_in_process("--epochs", 4, "--methods", "majority-vote", folder=folder)
    assert saved == epochs


def test_the_last_checkpoint_has_the_failure_that_ended_a_run(run_in_process, monkeypatch):
    calls, loss = [], MajorityVote.loss_from

    def broken(self, *arguments):
        calls.append(1)
        return loss(self, *arguments) * (float("nan") if len(calls) == 9 + 4 else 1)  # nine batches an epoch
    monkeypatch.setattr(MajorityVote, "loss_from", broken)
    status, folder = run_in_process("--epochs", 3, "--methods", "majority-vote")
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert status == 1 and state["epoch"] == 2
    assert state["learners"]["0/majority-vote/0"]["failure"] == "loss not finite in epoch 2, batch 4"


def test_control_c_says_how_to_go_on(start, tmp_path):
    process = start("Digits", "--epochs", 200, *SMALL)
    while not (tmp_path / RUN / "metrics.csv").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on" in stderr and "Traceback" not in stderr


def test_seed_and_companions(run_in_process):
    """The same seed gives the same numbers whichever methods run beside it; another seed gives others."""
    _, alone = run_in_process("--epochs", 2, "--methods", "max-mig")
    _, beside = run_in_process("--epochs", 2, "--methods", "true-label,max-mig", "aggnet")
    _, other = run_in_process("--epochs", 2, "--methods", "max-mig", "--seed", 1)
    assert numbers(alone) == [row for row in numbers(beside) if row["method"].startswith("max-mig")]
    assert numbers(alone) != numbers(other)


def test_nothing_of_the_truth_reaches_training(run_in_process, monkeypatch):
    _, honest = run_in_process("--epochs", 1)
    make = dataset_module.synthesized

    def lied_to(*arguments):
        dataset = make(*arguments)
        dataset.train.truth.copy_(dataset.train.truth.flip(0))
        return dataset
    monkeypatch.setattr(dataset_module, "synthesized", lied_to)
    _, lied = run_in_process("--epochs", 1)
    for a, b in zip(numbers(honest), numbers(lied), strict=True):
        assert (a == b) == (a["method"] != "true-label")


@pytest.fixture(scope="module")
def plain(run_in_process):
    return run_in_process("--epochs", 2, "--methods", "max-mig", "--precision", "float32")[1]


@pytest.mark.parametrize("flags", [("--divergence", "pearson"), ("--divergence", "total-variation"), ("--batch-size", 16),
                                   ("--augment", "once"), ("--augment", "fresh"), ("--precision", "bfloat16"),
                                   ("--precision", "float32"), ("--case", 3), ("--expertise", 0),
                                   ("--labels-per-item", 2)])
def test_flags_have_an_effect(run_in_process, plain, flags, capsys):
    _, changed = run_in_process("--epochs", 2, "--methods", "max-mig",
                                *flags, *(() if "--precision" in flags else ("--precision", "float32")))
    assert (numbers(plain) == numbers(changed)) == (flags == ("--precision", "float32"))
    assert ("smooth surrogate" in capsys.readouterr().out) == ("total-variation" in flags)


def test_augmentation_once_and_fresh_begin_alike_and_part(run_in_process):
    """Both draw maps in the first epoch; `once` keeps them."""
    views = {}
    for augment in ("once", "fresh"):
        with pytest.MonkeyPatch.context() as patch:
            draw = epoch.generator
            seen = views.setdefault(augment, [])

            def spy(seed, *keys, draw=draw, seen=seen):
                if keys[0] == "augmentation":
                    seen.append(draw(seed, *keys).initial_seed())
                return draw(seed, *keys)
            patch.setattr(epoch, "generator", spy)
            run_in_process("--epochs", 3, "--methods", "majority-vote", "--augment", augment)
    assert len(set(views["once"])) == 1 and len(set(views["fresh"])) == 3


def test_a_method_that_breaks_stops_and_the_others_go_on(run_in_process, monkeypatch, capsys):
    calls = []
    loss = MajorityVote.loss_from

    def broken(self, *arguments):
        calls.append(1)
        return loss(self, *arguments) * (float("nan") if len(calls) == 9 + 4 else 1)  # nine batches an epoch
    monkeypatch.setattr(MajorityVote, "loss_from", broken)
    status, folder = run_in_process("--epochs", 3, "--methods", "majority-vote", "max-mig")
    assert status == 0 and len(calls) == 18
    assert "majority-vote stopped: loss not finite in epoch 2, batch 4" in capsys.readouterr().out
    methods = json.loads((folder / "summary.json").read_text())["methods"]
    assert methods["majority-vote"]["failure"] == "loss not finite in epoch 2, batch 4"
    assert methods["majority-vote"]["best_epoch"] == 1 and "failure" not in methods["max-mig"]
    assert [row["epoch"] for row in numbers(folder) if row["method"] == "max-mig"] == ["1", "2", "3"]

    calls[:] = [1] * 12
    assert run_in_process("--epochs", 1, "--methods", "majority-vote")[0] == 1  # nothing came through


def test_a_full_disk_leaves_the_old_checkpoint(run_in_process, monkeypatch):
    """A limit on the size of files is met as a full disk is: writing fails half way."""
    two_epochs = "--epochs", 2, "--methods", "majority-vote"
    _, whole = run_in_process(*two_epochs)
    folder = whole.with_name("full")
    save, saved = RunFolder.save, []

    def save_to_a_full_disk(self, *state):
        if saved:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        save(self, *state)
        saved.append((folder / "checkpoint.pt").read_bytes())

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(RunFolder, "save", save_to_a_full_disk)
    try:
        with pytest.raises(UserError, match=r"cannot be written to \(File too large\)"):
            run_in_process(*two_epochs, folder=folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        monkeypatch.undo()
    assert [(folder / "checkpoint.pt").read_bytes()] == saved
    assert not [file for file in os.listdir(folder) if file.endswith(".tmp")]
    assert run_in_process(*two_epochs, folder=folder)[0] == 0
    assert numbers(folder) == numbers(whole) and same_weights(folder, whole)


def test_flags_of_kd_crowd_without_it_are_said(run_in_process, capsys):
    said = "--robust, --kd-weight: no effect without KD-Crowd; add a method such as kd-crowd-max-mig to --methods\n"
    flags = "--robust", "dividemix", "--kd-weight", 2, "--epochs", 1, "--methods"
    assert run_in_process(*flags, "majority-vote")[0] == 0 and said in capsys.readouterr().out
    assert run_in_process(*flags, "kd-crowd-aggnet")[0] == 0 and "no effect" not in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (("--case", 4), "--case: invalid choice: 4 (choose from 1, 2, 3)"),
    (("--expertise", "expert"), "--expertise: expected 1 (high) or 0 (low), not 'expert'"),
    (("--method", "max-mig"), "unrecognized arguments: --method max-mig; did you mean --methods?"),
    (("--methods", "max-mig,maxmig"), "--methods maxmig: there is no such method; choose from all, field, majority-vote"),
    (("--divergence", "wasserstein"), "--divergence: invalid choice: 'wasserstein' (choose from kl, reverse-kl"),
    (("--device", "toaster"), "--device toaster: expected the number of a GPU, or cpu"),
    (("--epochs", 0), "--epochs: expected a whole number from 1 on, not '0'"),
    (("--batch-size", 1), "--batch-size: expected a whole number from 2 on, not '1'"),
    (("--batch-size", 301), "--batch-size 301: larger than the training set of 300 items"),
    (("--kd-weight", 0), "--kd-weight: expected a number above 0, not '0'"),
    (("--lambda-u", -1), "--lambda-u: expected a number from 0 on, not '-1'"),
    (("--lambda-u", "inf"), "--lambda-u: expected a number from 0 on, not 'inf'"),
    (("--seed", -1), "--seed: expected a whole number from 0 on, not '-1'"),
    (("--train-size", 9), "--train-size 9: there are 1297 items of 10 classes; give a number from 10 to 1297"),
    (("--labels-per-item", 6), "--labels-per-item 6: this crowd has 5 annotators"),
    (("--test-size", 501), "--test-size 501: there are 500 items of 10 classes"),
    (("--out", "file/run"), "--out file/run: cannot be written to (Not a directory)"),
    (("--out", "foreign"), "--out foreign: holds config.json, which is no run's and would be lost"),
    (("--out", "broken"), "broken/checkpoint.pt: damaged, or not a checkpoint of this program"),
    (("--out", "x" * 300), f"--out {'x' * 300}: cannot be written to (File name too long)"),
    (("--out", "record"), "--out record: holds config.json, which is no run's and would be lost"),
    *(((f"--device={name}",), f"--device {name}: ") for name in ("meta", "²", "9" * 20, "hpu", "privateuseone", "-1", "")),
    (("--hurry",), "unrecognized arguments: --hurry"),
    (("--folds", 2), "--folds 2: needs --select crowd"),
    (("--held-out", .3), "--held-out 0.3: needs --select crowd"),
    (("--stage-end", "selected"), "--stage-end selected: needs an epoch that is selected"),
    (("--patience", 3), "--patience 3: needs an epoch that is selected"),
])
def test_errors_are_one_sentence(run_in_process, tmp_path, monkeypatch, arguments, message, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for name, file, text in (("foreign", "config.json", "{}"), ("broken", "checkpoint.pt", "{}"),
                             ("record", "config.json", '{"dataset": "digits", "run": ' + "[" * 100_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    with pytest.raises(UserError) as error:
        run_in_process(*arguments)
    # argparse quotes choices differently from one Python version to the next
    assert str(error.value).replace("'", "").startswith(message.replace("'", "")) and "\n" not in str(error.value)


def test_an_error_on_the_command_line(shell):
    done = shell("Digits", "--case", 4, anew=True)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"error: --case: invalid choice: .*\n", done.stderr)


def test_help_names_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit):
        digits_main.main(["--help"])
    text = capsys.readouterr().out
    for flag in ("case", "expertise", "path", "device", "methods", "divergence", "epochs", "batch-size", "seed",
                 "precision", "augment", "train-size", "test-size", "out", "fresh"):
        assert f"--{flag}" in text
    assert "(default: 30)" in text and "(default: kl)" in text
