"""Learners side by side, in threads or by CUDA graphs: the same numbers as one after another."""
import csv
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from common.crowd.labels import CrowdLabels
from common.methods.method import Batch, Method
from common.networks.classifier import Dropout, multiplications
from common.networks.papers import digits_net, four_conv
from common.system.errors import UserError
from common.training import cuda_graphs, run
from common.training.cuda_graphs import AT_FIRST, GraphExecutor
from common.training.executor import SERIAL, Executor
from conftest import load_script

pytestmark = pytest.mark.usefixtures("blank_pictures")


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


def test_an_executor_keeps_the_order_and_leaves_the_callers_generator_to_the_caller():
    import threading
    own = torch.Generator()
    learners = [Worker(own), Worker(None), Worker(own), Worker(None), Worker(own)]
    with torch.no_grad():
        found = Executor(3).map(lambda learner: (learner, threading.current_thread(), torch.is_grad_enabled()), learners)
    assert [learner for learner, _, _ in found] == learners and not any(grad for _, _, grad in found)
    assert {thread for learner, thread, _ in found if learner.generator is None} == {threading.main_thread()}
    assert threading.main_thread() not in {thread for learner, thread, _ in found if learner.generator}

    def fail(learner):
        raise ValueError("here")
    with pytest.raises(ValueError, match="here"):
        Executor(2).map(fail, learners)


def test_multiplications_are_counted():
    digits = 64 * 32 * 9 + 64 * 64 * 288 + 16 * 64 * 576 + 2560
    assert multiplications(digits_net("float32"), torch.zeros(1, 1, 8, 8)) == digits
    assert multiplications(four_conv("float32"), torch.zeros(2, 3, 150, 150)) > 1.5e8


@pytest.mark.parametrize("robust", ["elr", "dividemix"])
def test_the_number_of_threads_changes_nothing(tmp_path, capsys, robust):
    """DivideMix draws from the global generator, the others must not be in its way."""
    others = ["field"] if robust == "elr" else ["annot-mix", "aggnet"]
    flags = ["--train-size", "100", "--test-size", "50", "--epochs", "2", "--batch-size", "20", "--device", "cpu",
             "--methods", *others, "kd-crowd-max-mig", "kd-crowd-crowd-layer", "--robust", robust]
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


class Stream:
    """Notes what it is told."""

    def __init__(self, said):
        self.said = said

    def record_event(self):
        self.said.append("filled")
        return "filled"

    def wait_event(self, event):
        self.said.append(f"after {event}")

    def wait_stream(self, _):
        self.said.append("joined")


class Again:
    """Stands for a StepGraph where there is no CUDA: the step on the static inputs' batch, once more. Like one it knows the
    tensors that the method had when it was made."""
    made = []

    def __init__(self, learner, inputs, stream, beside):
        self.learner, self.inputs, self.stream = learner, inputs, stream if beside else None
        self.knows = self.tensors()
        self.made.append((learner.name, learner.stage, beside))

    def tensors(self):
        return [tensor.data_ptr() for tensor in self.learner.method.state_dict().values()]

    def launch(self, _):
        assert self.tensors() == self.knows
        return self.learner.descend(self.inputs.batch)


@pytest.fixture
def graph_executor(monkeypatch):
    """A GraphExecutor without CUDA; `said` is what its streams are told."""
    said, Again.made = [], []
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(said))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(said))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "default_generators", {None: SimpleNamespace(get_offset=lambda: 0)})
    monkeypatch.setattr(cuda_graphs, "StepGraph", Again)
    monkeypatch.setattr(cuda_graphs, "WORTHWHILE", 4)
    made = GraphExecutor(torch.device("cpu"))
    made.said = said
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as an Executor of threads has
    yield made
    torch.set_num_threads(threads)


def metrics(folder):
    """The lines of metrics.csv but for the seconds."""
    with open(folder / "metrics.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("robust", ["elr", "dividemix"])
def test_captured_steps_are_the_steps(tmp_path, capsys, monkeypatch, graph_executor, robust):
    others = ["field"] if robust == "elr" else ["mbem"]  # a stage before DivideMix is as it is before ELR
    flags = ["--train-size", "100", "--test-size", "50", "--epochs", "2", "--batch-size", "20", "--device", "cpu",
             "--methods", *others, "kd-crowd-max-mig", "kd-crowd-aggnet", "--robust", robust]
    assert load_script("Digits").main([*flags, "--out", str(tmp_path / "0")]) == 0
    monkeypatch.setattr(run, "choose_executor", lambda *_: graph_executor)
    assert load_script("Digits").main([*flags, "--out", str(tmp_path / "1")]) == 0
    assert metrics(tmp_path / "0") == metrics(tmp_path / "1") and len(metrics(tmp_path / "0")) >= 2 * 9
    made = [(name, stage) for name, stage, _ in Again.made]
    assert made.count(("max-mig", 0)) == made.count(("kd-crowd-max-mig", 2)) == 1
    for em in (("aggnet", 0), ("mbem", 0), ("kd-crowd-aggnet", 2)):
        assert made.count(em) == 2, "its q is another after each epoch"
    assert made.count(("kd-crowd-max-mig", 1)) == (0 if robust == "dividemix" else 1), "DivideMix draws on the CPU"
    assert not graph_executor.graphs


def test_folds_are_captured_one_after_another(tmp_path, capsys, monkeypatch, graph_executor):
    flags = ["--train-size", "160", "--test-size", "50", "--epochs", "2", "--batch-size", "20", "--device", "cpu",
             "--methods", "max-mig", "--select", "crowd", "--folds", "2"]
    assert load_script("Digits").main([*flags, "--out", str(tmp_path / "0")]) == 0
    monkeypatch.setattr(run, "choose_executor", lambda *_: graph_executor)
    assert load_script("Digits").main([*flags, "--out", str(tmp_path / "1")]) == 0
    assert metrics(tmp_path / "0") == metrics(tmp_path / "1")
    assert len(Again.made) == 4


class Walker:
    """Takes steps and notes how."""
    name, stage, repeatable, draws, offset = "walker", 0, True, 0, 0

    def __init__(self):
        self.method, self.ways = Method(SimpleNamespace(network=nn.Identity)), []

    def step(self, batch, seed, take=None):
        self.ways.append("captured" if take else "launched")
        Walker.offset = self.draws
        return seed


BATCH = Batch(torch.arange(4), torch.ones(4, 3), CrowdLabels.from_dense([[0], [1], [0], [1]], 2))


def test_the_first_steps_and_those_that_differ_are_launched_kernel_by_kernel(graph_executor):
    one, other = Walker(), Walker()
    other.repeatable = False
    for _ in range(5):
        assert graph_executor.step([one, other], BATCH, {one: 1, other: 2}) == [1, 2]
    assert AT_FIRST == 3 and one.ways == ["launched"] * 3 + ["captured"] * 2
    assert other.ways == ["launched"] * 5


@pytest.mark.parametrize(("dense", "graphs", "captured"), [
    ([[0, 1], [1, 1]], "auto", True), ([[0, 1], [1, 1]], "off", False), ([[0, 1], [1, -1]], "auto", False)])
def test_on_a_gpu_what_is_alike_is_captured(dense, graphs, captured):
    train = SimpleNamespace(inputs=SimpleNamespace(batch=lambda _: torch.zeros(1, 1, 8, 8)),
                            crowd=CrowdLabels.from_dense(dense, 2))
    options = SimpleNamespace(batch_size=16, graphs=graphs)

    def choose(batch_size=16):
        options.batch_size = batch_size
        protocol = SimpleNamespace(classifier=digits_net)
        return run.choose_executor(train, protocol, options, torch.device("cuda", 0), "float32")
    assert isinstance(choose(), GraphExecutor) == captured
    assert choose(10**6) is SERIAL


def test_graphs_wait_for_the_batch_and_are_waited_for(graph_executor):
    walkers = Walker(), Walker()
    for _ in range(AT_FIRST + 1):
        graph_executor.said.clear()
        graph_executor.step(walkers, BATCH, dict.fromkeys(walkers, 0))
    assert graph_executor.said == ["filled", "after filled", "after filled", "joined", "joined"]
    graph_executor.begin_epoch(walkers[:1], 50)
    assert list(graph_executor.graphs) == [walkers[0]]
    graph_executor.begin_epoch(walkers, 3)
    graph_executor.step(walkers, BATCH, dict.fromkeys(walkers, 0))
    assert walkers[1].ways[-1] == "launched", "three steps do not repay a capture"


def test_graphs_that_draw_do_not_run_beside_others(graph_executor, monkeypatch):
    drawing, still = Walker(), Walker()
    drawing.draws = 4
    monkeypatch.setattr(torch.cuda, "default_generators", {None: SimpleNamespace(get_offset=lambda: Walker.offset)})
    for _ in range(AT_FIRST + 1):
        graph_executor.step([drawing, still], BATCH, {drawing: 0, still: 0})
    assert [beside for _, _, beside in Again.made] == [False, True]


@pytest.mark.parametrize("kind", [RuntimeError, torch.cuda.OutOfMemoryError, KeyboardInterrupt])
def test_a_step_that_cannot_be_captured(graph_executor, monkeypatch, capsys, kind):
    """What is not possible is named with the way out; where memory is short, all steps are launched; Control-C is itself."""
    def refuse(learner, *_):
        if learner is first:
            return Again(learner, *_)
        try:
            raise kind("operation not permitted when stream is capturing\nand more")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")  # as the end of a capture does
    monkeypatch.setattr(cuda_graphs, "StepGraph", refuse)
    first, second = Walker(), Walker()

    def walk():
        for _ in range(AT_FIRST + 2):
            graph_executor.step([first, second], BATCH, {first: 0, second: 0})
    if kind is RuntimeError:
        with pytest.raises(UserError, match="walker: .*not permitted.* --graphs off"):
            walk()
        return
    if kind is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            walk()
        return
    walk()
    assert first.ways == second.ways == ["launched"] * (AT_FIRST + 2)
    assert capsys.readouterr().out.count("no memory for a CUDA graph") == 1
