"""What reproduce.py prints: tables within the width of the terminal, for a reader who may leave."""
import csv
import os
import subprocess
import sys

import pytest

import reproduce
from common.reproduce.grids import Grid
from common.reproduce.write_records import record
from conftest import ROOT, call, run_script

WIDE = Grid("accuracy (%)", ["", "majority-vote", "crowd-layer", "max-mig", "seeds"],
            [["case 1, high", "60.00 ± 2.00", "71.00", "83.00 ± 3.00", "3"], ["case 2, low", "", "9.00", "7.00", "1"]],
            frozenset({(0, 3), (1, 2)}))


def test_markdown():
    assert WIDE.markdown() == """**accuracy (%)**

| | majority-vote | crowd-layer | max-mig | seeds |
| --- | --- | --- | --- | --- |
| case 1, high | 60.00 ± 2.00 | 71.00 | **83.00 ± 3.00** | 3 |
| case 2, low |  | **9.00** | 7.00 | 1 |"""


def test_a_wide_table_is_split_by_columns():
    assert WIDE.terminal(80) == [
        "accuracy (%)", "",
        "              majority-vote  crowd-layer        max-mig  seeds",
        "------------  -------------  -----------  -------------  -----",
        "case 1, high   60.00 ± 2.00       71.00   83.00 ± 3.00*      3",
        "case 2, low                        9.00*          7.00       1"]
    assert WIDE.terminal(44) == [
        "accuracy (%)", "",
        "              majority-vote  crowd-layer",
        "------------  -------------  -----------",
        "case 1, high   60.00 ± 2.00       71.00",
        "case 2, low                        9.00*",
        "",
        "                    max-mig  seeds",
        "------------  -------------  -----",
        "case 1, high  83.00 ± 3.00*      3",
        "case 2, low           7.00       1"]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_long_texts_are_wrapped(width):
    grid = Grid("", ["claim", "our numbers", "last epoch, test accuracy of all"],
                [["Max-MIG is ahead of every baseline " * 3, "83.0 ± 0.2, aggnet 82.0; " * 9, "3.5"]] * 2)
    lines = grid.terminal(width)
    assert max(map(len, lines)) <= width and " ".join(lines).count("Max-MIG") >= 6


def test_names_reach_no_terminal_as_escape_codes():
    assert "\x1b" not in "".join(Grid("", ["", "a"], [["\x1b[31mred", "1"]]).terminal(80))


def test_without_a_data_set_it_says_what_there_is(command):
    done = command("reproduce.py")
    assert done.returncode == 0 and "digits: Digits/main.py" in done.stdout
    assert "results/ has (runs): digits (" in done.stdout
    assert "python3 reproduce.py claims --tables-only" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["digits", "--seeds", "200", "--list"]])
def test_a_reader_that_leaves_is_no_error(arguments, tmp_path):
    """One leaves at the end of a Python's output, one in the midst of more than the pipe holds."""
    pipes = {"cwd": tmp_path, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "pipesize": 4096}
    if arguments:
        process = call(run_script, "reproduce.py", arguments, env=dict(os.environ), **pipes)
    else:
        process = subprocess.Popen([sys.executable, str(ROOT / "reproduce.py")], **pipes)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 0


def test_a_record_has_the_last_memorised_shares(tmp_path):
    """Of each method in each stage."""
    cell = reproduce.make_cells(*reproduce.parse(["labelme", "--seeds", "1", "--out", str(tmp_path / "out")]),
                                script := reproduce.load_script("labelme"))[0]
    cell.folder.mkdir(parents=True)
    (cell.folder / "config.json").write_text('{"flags": {"seed": 0, "methods": [], "path": "/a/b"}, "commit": null, "run": '
                                             '{"precision": ""}, "versions": {"torch": "2"}, "device": "cpu", "threads": 1}')
    (cell.folder / "summary.json").write_text('{"methods": {"max-mig": {"last": null, "best": null, "best_epoch": null, '
                                              '"train_label_accuracy": null, "seconds": null}}, "seconds": 1}')
    (cell.folder / "memorization.csv").write_text("method,stage,epoch,mean,deviation\nmax-mig,0,1,.5,.1\nmax-mig,0,2,.4,.1\n"
                                                  "kd-crowd-max-mig,1,2,.3,.1\nkd-crowd-max-mig,2,1,.25,.1\n")
    record([cell], tmp_path / "out", tmp_path / "kept", script)
    kept = tmp_path / "kept" / cell.folder.name
    assert '"path": "b"' in (kept / "config.json").read_text()
    with open(kept / "memorized.csv", newline="") as file:
        assert [(row["stage"], row["mean"]) for row in csv.DictReader(file)] == [("0", ".4"), ("1", ".3"), ("2", ".25")]
