"""Learners side by side, in threads or by recordings: the same numbers as one after another."""
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from common.crowd import CrowdLabels
from common.errors import UserError
from common.methods import Batch, Method
from common.networks import Dropout, digits_net, four_conv, multiplications
from common.training import crews, experiment
from common.training.crews import AT_FIRST, Crew, Recorder
from conftest import load_script


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_with_a_generator_is_torchs_own(dtype):
    inputs = torch.randn(37, 50).to(dtype).requires_grad_()
    ours = Dropout(.3)
    ours.generator = torch.Generator().manual_seed(5)
    out = ours(inputs)
    torch.manual_seed(5)
    theirs = nn.functional.dropout(inputs, .3)
    assert out.equal(theirs) and (out == 0).any()
    assert torch.autograd.grad(out.sum(), inputs)[0].equal(torch.autograd.grad(theirs.sum(), inputs)[0])
    assert ours.eval()(inputs) is inputs


class Worker:
    def __init__(self, generator):
        self.generator = generator


def test_a_crew_keeps_the_order_and_leaves_the_callers_generator_to_the_caller():
    import threading
    own = torch.Generator()
    learners = [Worker(own), Worker(None), Worker(own), Worker(None), Worker(own)]
    with torch.no_grad():
        found = Crew(3).map(lambda learner: (learner, threading.current_thread(), torch.is_grad_enabled()), learners)
    assert [learner for learner, _, _ in found] == learners and not any(grad for _, _, grad in found)
    assert {thread for learner, thread, _ in found if learner.generator is None} == {threading.main_thread()}
    assert threading.main_thread() not in {thread for learner, thread, _ in found if learner.generator}

    def fail(learner):
        raise ValueError("here")
    with pytest.raises(ValueError, match="here"):
        Crew(2).map(fail, learners)


def test_multiplications_are_counted():
    digits = 64 * 32 * 9 + 64 * 64 * 288 + 16 * 64 * 576 + 2560
    assert multiplications(digits_net("float32"), torch.zeros(1, 1, 8, 8)) == digits
    assert multiplications(four_conv("float32"), torch.zeros(2, 3, 150, 150)) > 1.5e8


@pytest.mark.parametrize("robust", ["elr", "dividemix"])
def test_the_number_of_threads_changes_nothing(tmp_path, capsys, robust):
    """DivideMix draws from the global generator, the others must not be in its way."""
    flags = ["--train-size", "100", "--test-size", "50", "--epochs", "2", "--batch-size", "20", "--device", "cpu",
             "--methods", "field", "kd-crowd-max-mig", "kd-crowd-crowd-layer", "--robust", robust]
    before, columns = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert load_script("Digits").main([*flags, "--out", str(tmp_path / str(threads))]) == 0
            assert torch.get_num_threads() == threads
            lines = (tmp_path / str(threads) / "metrics.csv").read_text().splitlines()
            columns.append([line.rpartition(",")[0] for line in lines])
    finally:
        torch.set_num_threads(before)
    assert columns[0] == columns[1]
    assert "3 methods at a time with a thread each" in capsys.readouterr().out


class Again:
    """Stands for a Recording where there is no CUDA: the step on the Place's batch, once more."""
    made = []
    stream = None

    def __init__(self, learner, place, device, beside):
        self.learner, self.place = learner, place
        self.made.append((learner.name, learner.stage, beside))

    def launch(self, _):
        return self.learner.descend(self.place.batch)


@pytest.fixture
def recorder(monkeypatch):
    """A Recorder without CUDA."""
    stream = SimpleNamespace(record_event=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "default_generators", {None: SimpleNamespace(get_offset=lambda: 0)})
    monkeypatch.setattr(crews, "Recording", Again)
    monkeypatch.setattr(Again, "made", [])
    return Recorder(torch.device("cpu"))


@pytest.mark.parametrize("robust", ["elr", "dividemix"])
def test_recorded_steps_are_the_steps(tmp_path, capsys, monkeypatch, recorder, robust):
    flags = ["--train-size", "100", "--test-size", "50", "--epochs", "3", "--batch-size", "20", "--device", "cpu",
             "--methods", "field", "kd-crowd-max-mig", "--robust", robust]
    assert load_script("Digits").main([*flags, "--out", str(tmp_path / "0")]) == 0
    monkeypatch.setattr(experiment, "make_crew", lambda *_: recorder)
    assert load_script("Digits").main([*flags, "--out", str(tmp_path / "1")]) == 0
    columns = [[line.rsplit(",", 1)[0] for line in (tmp_path / run / "metrics.csv").read_text().splitlines()]
               for run in ("0", "1")]
    assert columns[0] == columns[1] and len(columns[0]) > 40
    made = [(name, stage) for name, stage, _ in Again.made]
    assert made.count(("max-mig", 0)) == 1 and made.count(("kd-crowd-max-mig", 2)) == 1
    assert made.count(("aggnet", 0)) == made.count(("mbem", 0)) == 3, "its q is another after each epoch"
    assert made.count(("kd-crowd-max-mig", 1)) == (0 if robust == "dividemix" else 1), "DivideMix draws on the CPU"


class Walker:
    """Takes steps and notes how."""
    name, stage, repeatable = "walker", 0, True

    def __init__(self, method=None):
        self.method, self.ways = method or Method(SimpleNamespace(network=nn.Identity)), []

    def step(self, batch, seed, take=None):
        self.ways.append("recorded" if take else "launched")
        return seed


BATCH = Batch(torch.arange(4), torch.ones(4, 3), CrowdLabels.from_dense([[0], [1], [0], [1]], 2))


def test_the_first_steps_and_those_that_differ_are_launched_kernel_by_kernel(recorder):
    one, other = Walker(), Walker()
    other.repeatable = False
    for _ in range(5):
        assert recorder.step([one, other], BATCH, {one: 1, other: 2}) == [1, 2]
    assert AT_FIRST == 3 and one.ways == ["launched"] * 3 + ["recorded"] * 2
    assert other.ways == ["launched"] * 5


@pytest.mark.parametrize(("dense", "graphs", "recorded"), [
    ([[0, 1], [1, 1]], "auto", True), ([[0, 1], [1, 1]], "off", False), ([[0, 1], [1, -1]], "auto", False)])
def test_on_a_gpu_what_is_alike_is_recorded(dense, graphs, recorded):
    train = SimpleNamespace(inputs=SimpleNamespace(batch=lambda _: torch.zeros(1, 1, 8, 8)),
                            crowd=CrowdLabels.from_dense(dense, 2))
    options = SimpleNamespace(batch_size=16, graphs=graphs)

    def crew(batch_size=16):
        options.batch_size = batch_size
        return crews.make_crew(train, SimpleNamespace(network=digits_net), options, torch.device("cuda", 0), "float32")
    assert isinstance(crew(), Recorder) == recorded
    assert crew(10**6) is crews.ALONE


def test_recordings_that_draw_do_not_run_beside_others(recorder, monkeypatch):
    drawing, still = Walker(), Walker()
    for _ in range(AT_FIRST):
        recorder.step([still], BATCH, {still: 0})
    monkeypatch.setattr(torch.cuda, "default_generators", {None: SimpleNamespace(get_offset=lambda: 4)})
    for _ in range(AT_FIRST + 1):
        recorder.step([drawing, still], BATCH, {drawing: 0, still: 0})
    assert [beside for _, _, beside in Again.made] == [True, False]
    recorder.begin_epoch([still])
    assert list(recorder.recordings) == [still]


def test_a_step_that_cannot_be_recorded_is_named_with_the_way_out(recorder, monkeypatch):
    def refuse(*_):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")
    monkeypatch.setattr(crews, "Recording", refuse)
    walker = Walker()
    with pytest.raises(UserError, match="walker: .*not permitted.* --graphs off"):
        for _ in range(AT_FIRST + 1):
            recorder.step([walker], BATCH, {walker: 0})
