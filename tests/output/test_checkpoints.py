"""Checkpoints under a seal that holds, with an optimiser's state that no run of the same command can have."""
import copy

import pytest
import torch

from common.data.tensors import save_tensors
from common.names import CROWD_MODELS
from common.output.run_folder import RunFolder
from common.system.errors import UserError
from common.training import loop
from conftest import load_script

FLAGS = ["--case", "2", "--expertise", "1", "--train-size", "40", "--test-size", "20", "--batch-size", "10", "--epochs", "2",
         "--device", "cpu"]


class Stopped(Exception):
    pass


def stop_after(monkeypatch, saves, arguments):
    """Runs Digits until it has saved so many checkpoints, one after each epoch."""
    count, save = iter(range(saves)), RunFolder.save

    def save_and_stop(folder, *what):
        save(folder, *what)
        if next(count) == saves - 1:
            raise Stopped
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0)
        patch.setattr(RunFolder, "save", save_and_stop)
        load_script("Digits").main(arguments)


@pytest.fixture(scope="module")
def run_of_one_epoch(tmp_path_factory):
    """(flags, path of the checkpoint) of a run stopped after the first of two epochs."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    flags = [*FLAGS, "--methods", "max-mig", "--out", str(folder)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 1, flags)
    return flags, folder / "checkpoint.pt"


@pytest.fixture
def stopped(run_of_one_epoch):
    """`run_of_one_epoch` and the checkpoint's state; afterwards the file is as it was."""
    flags, path = run_of_one_epoch
    content = path.read_bytes()
    yield flags, path, torch.load(path, weights_only=True)
    path.write_bytes(content)


def change_moment(name, function):
    def change(optimizer, method):
        optimizer["state"][1][name] = function(optimizer["state"][1][name])
    return change


def change_group(name, value):
    def change(optimizer, method):
        optimizer["param_groups"][0][name] = value
    return change


def change_state(function):
    return lambda optimizer, method: function(optimizer["state"])


def change_weights(function):
    def change(optimizer, method):
        name = next(iter(method))
        method[name] = function(method[name])
    return change


CHANGES = {
    "a moment of another shape": change_moment("exp_avg", lambda moment: moment[:-1]),
    "a moment that can be broadcast": change_moment("exp_avg_sq", lambda moment: moment.sum()),
    "a moment of whole numbers": change_moment("exp_avg", torch.Tensor.long),
    "a moment of double precision": change_moment("exp_avg_sq", torch.Tensor.double),
    "a sparse moment": change_moment("exp_avg", torch.Tensor.to_sparse),
    "a moment that is a list": change_moment("exp_avg", torch.Tensor.tolist),
    "a moment that is missing": change_state(lambda state: state[0].pop("exp_avg_sq")),
    "a moment of another optimiser": change_state(lambda state: state[0].update(max_exp_avg_sq=state[0]["exp_avg_sq"])),
    "a parameter that is missing": change_state(lambda state: state.pop(0)),
    "a parameter too many": change_state(lambda state: state.update({99: state[0]})),
    "a parameter without moments": change_state(lambda state: state.update({0: {}})),
    "no moments": change_state(dict.clear),
    "no step": change_moment("step", torch.zeros_like),
    "a step that is no number": change_moment("step", lambda step: step * float("nan")),
    "two steps": change_moment("step", lambda step: step.repeat(2)),
    "another rate": change_group("lr", 1.),
    "a rate that is a word": change_group("lr", "fast"),
    "other betas": change_group("betas", (.9,)),
    "maximize": change_group("maximize", True),
    "a group of other parameters": change_group("params", [0]),
    "a group too many": lambda optimizer, method: optimizer["param_groups"].append(optimizer["param_groups"][0]),
    "weights of double precision": change_weights(torch.Tensor.double),
    "weights of whole numbers": change_weights(torch.Tensor.long),
    "weights of another shape": change_weights(lambda weights: weights[:-1]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_optimisers_state_is_refused_before_anything_trains(stopped, monkeypatch, name):
    flags, path, state = stopped
    learner = state["learners"]["0/max-mig/0"]
    CHANGES[name](learner["optimizer"], learner["method"])
    refuse(flags, path, state, monkeypatch)


@pytest.mark.parametrize("optimizer", [None, {}, [], {"state": {}}])
def test_within_a_stage_no_optimiser_is_missing(stopped, monkeypatch, optimizer):
    flags, path, state = stopped
    state["learners"]["0/max-mig/0"]["optimizer"] = optimizer
    refuse(flags, path, state, monkeypatch)


def refuse(flags, path, state, monkeypatch):
    with open(path, "wb") as file:
        save_tensors(state, file)
    monkeypatch.setattr(loop, "train_folds", lambda *_: pytest.fail("it trains"))
    with pytest.raises(UserError, match="checkpoint.pt: damaged, or not a checkpoint of this program; --fresh starts over"):
        load_script("Digits").main(flags)


def test_every_method_goes_on_from_every_epoch(tmp_path, monkeypatch):
    """What a run has written itself is never refused, in each stage of KD-Crowd."""
    flags = [*FLAGS, "--methods", "majority-vote", *CROWD_MODELS, "kd-crowd-max-mig", "kd-crowd-crowd-layer", "true-label",
             "--out", str(tmp_path / "run")]
    for _ in range(6):
        stop_after(monkeypatch, 1, flags)
    assert load_script("Digits").main(flags) == 0


def test_a_parameter_that_no_loss_reaches_has_no_moments(stopped, monkeypatch):
    """Its weights are those that training began with."""
    flags, path, state = stopped
    built = {}
    restore = loop.restore

    def keep(learners, states, folder):
        built["first"] = copy.deepcopy(learners[0].method.state_dict())
        return restore(learners, states, folder)
    monkeypatch.setattr(loop, "restore", keep)
    monkeypatch.setattr(loop, "train_folds", lambda *_: pytest.fail("it trains"))
    with pytest.raises(pytest.fail.Exception):
        load_script("Digits").main(flags)
    learner = state["learners"]["0/max-mig/0"]
    learner["method"] = built["first"]
    learner["optimizer"]["state"] = {}
    with open(path, "wb") as file:
        save_tensors(state, file)
    with pytest.raises(pytest.fail.Exception, match="it trains"):
        load_script("Digits").main(flags)
