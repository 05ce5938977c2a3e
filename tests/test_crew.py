"""Learners side by side in threads: the same numbers as one after another."""
import pytest
import torch
from torch import nn

from common.networks import Dropout, digits_net, four_conv, multiplications
from common.training.crews import Crew
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
