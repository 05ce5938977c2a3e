"""One run over two processes, as torchrun starts them, against one process."""
import csv
import os
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from common.crowd.labels import CrowdLabels
from common.methods.method import Batch, Constants, Setting
from common.methods.registry import METHODS
from common.names import FIELD_METHODS
from common.networks import classifier
from common.networks.classifier import Classifier
from common.system import device, processes
from common.system.errors import UserError
from common.training import loop
from conftest import ROOT, call, load_script

FLAGS = ("--train-size", "42", "--test-size", "30", "--epochs", "2", "--batch-size", "21", "--device", "cpu",
         "--precision", "float32", "--robust", "dividemix", "--methods")
ALL, SOME = ("field", "kd-crowd-max-mig"), ("aggnet", "kd-crowd-max-mig")
pytestmark = pytest.mark.usefixtures("blank_pictures")


def without_dropout():
    """Its masks are drawn for the rows that a process has."""
    nn.Dropout.forward = classifier.Dropout.forward = lambda self, inputs: inputs


def make_gradients(file):
    """The first process's gradients of every method on one batch of eleven, which two processes cannot share evenly."""
    without_dropout()
    processes.join(torch.device("cpu"))
    torch.manual_seed(0)
    inputs, answers = torch.randn(11, 3, 8, 8), torch.randint(-1, 3, (11, 4))
    crowd = CrowdLabels.from_dense(answers.numpy(), 3)
    found = {}
    for name in FIELD_METHODS:
        torch.manual_seed(0)
        method = METHODS[name](Setting(
            network=lambda: Classifier(nn.Sequential(
                nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(.5),
                nn.Conv2d(6, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()), nn.Linear(64, 3)),
            crowd=crowd, truth=torch.arange(11) % 3, prior=torch.full((3,), 1 / 3), input_size=192,
            constants=Constants(learn_prior=True, smoothing=1e-2))).train()
        method.loss(Batch(torch.arange(11), inputs, crowd)).backward()
        processes.sum_gradients(method.classifier.body.parameters())
        found[name] = {key: p.grad for key, p in method.named_parameters() if p.grad is not None}
        found[name] |= {key: value for key, value in method.state_dict().items() if "running" in key}
    if not processes.rank():
        torch.save(found, file)
    processes.leave()


def train(*flags):
    without_dropout()
    return load_script("Digits").main(list(flags))


def train_until_epoch_2(*flags):
    """Ends in the middle of the second epoch's evaluation; the first one's checkpoint is there."""

    def stop(epoch, *_, **__):
        if epoch == 2:
            os._exit(9)
    loop.say_epoch = stop
    return train(*flags)


def two(function, *arguments):
    """Two processes that call a function of this module: (their statuses, what the first and what the second has printed,
    [what each has printed on standard error])."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(2):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                                    "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        started.append(call(function, *arguments, env=environment, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE))
    ended = [process.communicate() for process in started]
    return [process.returncode for process in started], ended[0][0], ended[1][0], [err for _, err in ended]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """What without_dropout does is undone afterwards."""
    for kind in (nn.Dropout, classifier.Dropout):
        monkeypatch.setattr(kind, "forward", kind.forward)


def test_gradients_are_those_of_one_process(tmp_path):
    status, _, _, errors = two(make_gradients, str(tmp_path / "two"))
    assert status == [0, 0], errors
    make_gradients(tmp_path / "one")
    one, both = torch.load(tmp_path / "one"), torch.load(tmp_path / "two")
    assert set(one) == set(both) == set(FIELD_METHODS)
    for name in one:
        assert one[name].keys() == both[name].keys()
        for key in one[name]:
            scale = one[name][key].abs().max()
            assert (one[name][key] - both[name][key]).abs().max() <= 2e-5 * scale + 1e-7, (name, key)


def rows(folder):
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def test_a_run_of_all_methods_and_its_resumption(tmp_path):
    assert train(*FLAGS, *ALL, "--out", str(tmp_path / "one")) == 0  # first: what it imports, the others have
    status, said, other, errors = two(train, *FLAGS, *ALL, "--out", str(tmp_path / "both"))
    assert status == [0, 0], errors
    assert "files are in" in said and other == ""
    one, both = rows(tmp_path / "one"), rows(tmp_path / "both")
    assert [(row["stage"], row["epoch"], row["method"]) for row in one] == [
        (row["stage"], row["epoch"], row["method"]) for row in both]
    for a, b in zip(one, both, strict=True):
        if a["epoch"] == "1" and a["stage"] == "0" and a["loss"]:
            assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=2e-3), a["method"]

    status, _, _, errors = two(train_until_epoch_2, *FLAGS, *SOME, "--out", str(tmp_path / "stopped"))
    assert status == [9, 9], errors
    assert not (tmp_path / "stopped" / "summary.json").exists()
    status, _, _, errors = two(train, *FLAGS, *SOME, "--out", str(tmp_path / "stopped"))
    assert status == [0, 0], errors
    whole, resumed = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("both", "stopped"))
    for key, learner in resumed["learners"].items():
        for name, tensor in learner["method"].items():
            assert tensor.equal(whole["learners"][key]["method"][name]), (key, name)


def test_an_error_ends_all(tmp_path):
    """Who meets it says it; torchrun ends those that wait."""
    (tmp_path / "file").touch()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                ROOT / "Digits" / "main.py", *FLAGS, *SOME, "--out", tmp_path / "file"]
    done = subprocess.run(torchrun, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode != 0 and f"error: --out {tmp_path / 'file'}: cannot be written to" in done.stderr


def test_a_batch_smaller_than_the_processes(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 30)
    with pytest.raises(UserError, match="--batch-size 21: fewer than the 30 processes"):
        train(*FLAGS, *SOME, "--out", "unused")


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "WORLD_SIZE"])
def test_what_torchrun_sets_is_checked(monkeypatch, name):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, "²")
    with pytest.raises(UserError, match=f"{name}=² in the environment: expected a whole number"):
        device.choose_device(None)
