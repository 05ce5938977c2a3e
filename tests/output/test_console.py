"""What a run prints fits into a terminal of 80 columns."""
import pytest

from common.names import METHODS
from common.output import console

SCORES = {"test_accuracy": .8765, "test_auc": .9876}


def summary():
    return {"methods": {name: {"last": SCORES, "best": SCORES, "best_epoch": 123, "selected": SCORES, "selected_epoch": 123,
                               "train_label_accuracy": .8765, "held_out_log_likelihood": -1 - k, "seconds": 1234.5}
                        for k, name in enumerate(METHODS)}, "label_accuracy": .9}


def test_the_table_fits():
    lines = console.table(summary())
    assert max(map(len, lines)) <= 80 and len(lines) == len(METHODS) + 4
    assert lines[3].split()[0] == METHODS[0] and "87.65" in lines[3] and lines[-1].split() == ["labels.csv", "90.00"]


@pytest.mark.parametrize("verbose", [False, True])
def test_an_epoch_fits(capsys, verbose):
    rows = [{"method": name, "test_accuracy": k / len(METHODS)} for k, name in enumerate(METHODS)]
    console.say_epoch(7, rows, "", True, verbose)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "test accuracy (%) by epoch" and max(map(len, lines)) <= 80
    assert lines[2].startswith(f"    7  {METHODS[-1]} ") and (len(lines) > 3) == verbose
    assert sum(name in line.split() for line in lines for name in METHODS) == len(METHODS) if verbose else (
        lines[2].endswith(" more"))
