"""The benchmarks' modes, on a made crowd."""
import numpy as np
import pytest
import real_crowds


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 40)
    answers = "".join(f"{i},{w},{truth[i] ^ (random.random() < .2)}\n" for i in range(40) for w in "abcde")
    (tmp_path / "answers.csv").write_text("task,worker,label\n" + answers)
    (tmp_path / "truth.csv").write_text("task,label\n" + "".join(f"{i},{c}\n" for i, c in enumerate(truth)))
    return tmp_path


@pytest.mark.parametrize("by_gain", [True, False])
def test_answers_are_revealed_one_after_another(folder, monkeypatch, by_gain):
    monkeypatch.setattr(real_crowds, "ROUNDS", 2)
    found = real_crowds.reveal(folder, by_gain, 0)
    assert len(found) == 3 and min(found) > .7
