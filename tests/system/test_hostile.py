"""Files and names made to do harm: they are refused in one sentence, or have no effect."""
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from broken_files import seal
from common.data import decoding
from common.data.tensors import load_tensors, save_tensors
from common.output.csv_files import notice_formulas
from common.system import errors
from common.system.errors import UserError
from common.training import finish
from conftest import ROOT, call, load_script, run_script

DIGITS, MAIN, PREDICT = load_script("Digits"), load_script("OwnData"), load_script("OwnData", "predict.py")
SMALL = ["--train-size", "100", "--test-size", "50", "--epochs", "1", "--methods", "majority-vote", "--device", "cpu"]
ANSWERS = "task,worker,label\n" + "".join(f"i{k},w{w},{'cat' if k % 2 else 'dog'}\n" for k in range(12) for w in range(3))


# --- memory of large images -------------------------------------------------------------------------------------------

class Held:
    """How much is held at the same time, and the most that was."""

    def __init__(self):
        self.now = self.most = 0
        self.lock = threading.Lock()

    def hold(self, count, seconds=.02):
        with self.lock:
            self.now += count
            self.most = max(self.most, self.now)
        time.sleep(seconds)
        with self.lock:
            self.now -= count


def test_a_budget_is_never_exceeded():
    budget, held = decoding.Budget(100), Held()

    def work(count):
        with budget.of(count):
            held.hold(min(count, 100))
    threads = [threading.Thread(target=work, args=(count,)) for count in (60, 60, 30, 30, 1000, 10, 100, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 60 < held.most <= 100 and budget.free == 100
    with pytest.raises(ZeroDivisionError), budget.of(70):
        1 / 0  # noqa: B018
    assert budget.free == 100


@pytest.mark.parametrize(("budget", "at_once"), [(1.5, 1), (2.5, 2)])
def test_large_images_are_decoded_within_the_budget(tmp_path, monkeypatch, budget, at_once):
    files = [tmp_path / f"{k}.png" for k in range(8)]
    for file in files:
        Image.new("RGB", (500, 400), "red").save(file)
    one = 500 * 400 * 4 * decoding.COPIES
    monkeypatch.setattr(decoding, "DECODED", budget * one)
    held = Held()

    def fit(image, size, mode):
        held.hold(one)
        return decoding.resize(image, size, mode)
    images, readable = np.zeros((8, 16, 16, 3), np.uint8), np.zeros(8, bool)
    decoding.decode_into(images, readable, None, files, 16, "RGB", fit)
    assert readable.all() and (images == [255, 0, 0]).all() and held.most == at_once * one


def test_a_jpeg_counts_as_it_is_decoded(tmp_path):
    Image.new("RGB", (1600, 1600)).save(tmp_path / "a.jpg")
    Image.new("RGB", (1600, 1600)).save(tmp_path / "a.png")
    counts = []
    for name in ("a.jpg", "a.png"):
        with Image.open(tmp_path / name) as image:
            counts.append(decoding.decoded_bytes(image, 32, "RGB"))
    assert counts == [200 * 200 * 4 * decoding.COPIES, 1600 * 1600 * 4 * decoding.COPIES]


# --- streams, links, clocks -------------------------------------------------------------------------------------------

def check_without(*names):
    """OwnData's --check with these streams closed, which a Python that starts so has as None."""
    for name in names:
        os.close(("stdin", "stdout", "stderr").index(name))
        setattr(sys, name, None)
    errors._open_closed_streams()  # as the script's first import does
    run_script("OwnData/main.py", ["--answers", "small.csv", "--check"])


@pytest.mark.parametrize("closed", [("stdout",), ("stderr",), ("stdout", "stderr"), "<&- >&- 2>&-"])
def test_closed_streams(tmp_path, closed):
    """Some are in a fork, all three in a shell."""
    (tmp_path / "small.csv").write_text(ANSWERS)
    pipes = {"cwd": tmp_path, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if isinstance(closed, str):
        process = subprocess.Popen(["sh", "-c", f'"$0" "$1" --answers small.csv --check {closed}', sys.executable,
                                    str(ROOT / "OwnData" / "main.py")], **pipes)
    else:
        process = call(check_without, *closed, env=dict(os.environ), **pipes)
    said, complaint = process.communicate()
    assert process.returncode == 0 and complaint == ""
    assert ("nothing is wrong" in said) == (closed == ("stderr",))


def test_a_lock_that_is_a_link(tmp_path, monkeypatch, command):
    (tmp_path / "small.csv").write_text(ANSWERS)
    (tmp_path / "precious.txt").write_text("years of work")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "claim.lock").symlink_to(tmp_path / "precious.txt")
    done = command("OwnData", "--answers", "small.csv", "--out", "run")
    assert done.returncode == 2 and "claim.lock in it is a symbolic link" in done.stderr
    assert (tmp_path / "precious.txt").read_text() == "years of work"
    (tmp_path / "run" / "claim.lock").unlink()
    (tmp_path / "run" / "claim.lock").symlink_to(tmp_path / "nothing.txt")
    assert command("OwnData", "--answers", "small.csv", "--out", "run").returncode == 2
    assert not (tmp_path / "nothing.txt").exists()


def test_a_folder_that_is_a_link_to_nothing(tmp_path, command):
    (tmp_path / "small.csv").write_text(ANSWERS)
    (tmp_path / "run").symlink_to(tmp_path / "nothing")
    done = command("OwnData", "--answers", "small.csv", "--out", "run")
    assert done.returncode == 2 and "a symbolic link to nothing" in done.stderr and done.stderr.count("\n") == 1


def test_seconds_are_those_of_the_whole_run(tmp_path, monkeypatch):
    write_page = finish.write_page

    def slow(*arguments):
        time.sleep(1.5)
        write_page(*arguments)
    monkeypatch.setattr(finish, "write_page", slow)
    assert DIGITS.main([*SMALL, "--out", str(tmp_path / "run")]) == 0
    trained = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["seconds"]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["seconds"] >= trained + 1.5


# --- files that torch reads -------------------------------------------------------------------------------------------

NESTED = b")" + b"\x85" * 200_000  # a tuple in a tuple in a tuple ...
DOUBLED = b")" + b"".join(b"q%ch%c\x86" % (k, k) for k in range(60))  # each holds the one before it twice: ages to hash
AS_KEY, IN_A_LIST, TO_A_SET = b"}%sNs", b"]%sa", b"cbuiltins\nset\n]%sa\x85R"


def write_pickle(file, content):
    """Writes a file like those of save_tensors, sealed, with the content as its pickle."""
    writer = torch._C.PyTorchFileWriter(str(file))
    writer.write_record("data.pkl", content, len(content))
    writer.write_record("version", b"3\n", 2)
    writer.write_end_of_file()
    file.write_bytes(seal(file.read_bytes()))


def old_file(value):
    """What torch wrote until 2020, with the pickle `value` as what is saved."""
    magic, version, system, storages = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"M\xe9\x03.", b"}.", b"]."
    return b"".join(b"\x80\x02" + part for part in (magic, version, system)) + value + b"\x80\x02" + storages


def test_the_crafted_files_of_these_tests_are_read(tmp_path):
    """So that those which are refused are refused for their depth."""
    write_pickle(tmp_path / "a.pt", b"\x80\x02}X\x01\x00\x00\x00aK\x05s.")
    assert load_tensors(tmp_path / "a.pt", sealed=True) == {"a": 5}
    (tmp_path / "b.pt").write_bytes(old_file(b"\x80\x02}X\x01\x00\x00\x00aK\x05s."))
    assert load_tensors(tmp_path / "b.pt") == {"a": 5}
    with pytest.raises(ValueError, match="not a zip archive|its seal does not hold"):
        load_tensors(tmp_path / "b.pt", sealed=True)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("place", [AS_KEY, IN_A_LIST, TO_A_SET])
@pytest.mark.parametrize("value", [NESTED, DOUBLED])
def test_deep_pickles_are_refused(tmp_path, value, place, old):
    content = b"\x80\x02" + place % value + b"."
    if old:
        (tmp_path / "a.pt").write_bytes(old_file(content))
    else:
        write_pickle(tmp_path / "a.pt", content)
    with pytest.raises(ValueError, match="expected at most 200 and 10000|fewer values"):
        load_tensors(tmp_path / "a.pt", sealed=not old)


@pytest.mark.parametrize("content", [
    b"\x80\x02" + b"]" * 300 + b"a" * 299 + b".",  # lists
    b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",  # 2 GB of zeros
    b"\x80\x02\x85.", b"\x80\x02K\x01K\x02a.", b"\x80\x02h\x05.", b"\x80\x02t.", b"\x80\x02X\xff\xff\xff\x7fa.", b"\x80\x02",
])
def test_odd_pickles_are_refused(tmp_path, content):
    write_pickle(tmp_path / "a.pt", content)
    with pytest.raises(ValueError):
        load_tensors(tmp_path / "a.pt", sealed=True)


def test_files_of_torch_are_read_as_before(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2))
    value = {"state": {"a": parameter, "b": torch.eye(2, dtype=torch.bfloat16)}, "size": torch.Size([1, 2]), "none": None,
             "numbers": [1, -5, 2**70, 1.5, True], "optimizer": torch.optim.Adam([parameter]).state_dict(), "set": {1, 2}}
    for new in (True, False):
        torch.save(value, tmp_path / "a.pt", _use_new_zipfile_serialization=new)
        assert repr(load_tensors(tmp_path / "a.pt")) == repr(value)


def test_a_run_refuses_a_deep_checkpoint(tmp_path):
    flags = [*SMALL, "--out", str(tmp_path / "run")]
    DIGITS.main(flags)
    write_pickle(tmp_path / "run" / "checkpoint.pt", b"\x80\x02}" + NESTED + b"Ns.")
    with pytest.raises(UserError, match="checkpoint.pt: damaged, or not a checkpoint"):
        DIGITS.main(flags)


def test_deep_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.csv").write_text(ANSWERS.replace(",w", ".png,w").replace("task.png,", "task,"))
    (tmp_path / "images").mkdir()
    for k in range(12):
        Image.new("RGB", (16, 16), (20 * k, 0, 0)).save(tmp_path / "images" / f"i{k}.png")
    write_pickle(tmp_path / "w.pt", b"\x80\x02}" + NESTED + b"Ns.")
    with pytest.raises(UserError, match="--weights w.pt: damaged, or not a file that torch saved"):
        MAIN.main(["--answers", "small.csv", "--images", "images", "--network", "resnet18", "--size", "16", "--weights",
                   "w.pt", "--check"])


def test_checkpoints_that_cannot_be_of_the_run(tmp_path):
    """Their seals hold."""
    flags = [*SMALL, "--out", str(tmp_path / "run")]
    DIGITS.main(flags)
    whole = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    row, learner = whole["rows"][0], whole["learners"]["0/majority-vote/0"]
    memorized = {"method": "a", "stage": 0, "epoch": 1, "mean": .5, "deviation": .1}
    learners = [{"0/majority-vote/0": learner | change} for change in (
        {"seconds": "x"}, {"failure": 3}, {"best": 1}, {"best": {"epoch": 1, "score": .5, "method": {}}},
        {"optimizer": [1]})]
    changes = [{"stage": 99}, {"stage": 1}, {"stage": -1}, {"epoch": -1}, {"epoch": 2}, {"epoch": True}, {"epoch": 1.},
               *({"rows": rows} for rows in ([1], [{}], [row | {"epoch": "x"}], [row | {"epoch": 7}], [row | {"method": 3}],
                                             [row | {"test_accuracy": "a"}], [row | {"stage": 5}], [row | {"more": []}],
                                             [row | {7: 1}], [None])),
               *({"memorization": rows} for rows in ([1], [{}], [memorized | {"mean": "x"}], [memorized | {"stage": 2}])),
               *({"learners": states} for states in learners), {"config": "[" * 100_000}]
    for done in (True, False):
        for change in changes:
            if "learners" in change and done:
                continue  # nothing is read of them
            with open(tmp_path / "run" / "checkpoint.pt", "wb") as file:
                save_tensors(whole | change, file)
            with pytest.raises(UserError, match="damaged, or not a checkpoint of|not the record of a run"):
                DIGITS.main(flags)
        (tmp_path / "run" / "summary.json").unlink(missing_ok=True)
    with open(tmp_path / "run" / "checkpoint.pt", "wb") as file:
        save_tensors(whole, file)
    assert DIGITS.main(flags) == 0


# --- names -----------------------------------------------------------------------------------------------------------

RED = "\x1b[31m"


def test_escape_codes_in_names_reach_no_terminal(tmp_path, command):
    """Of classes, annotators, items and files; a repeated answer, a broken image and odd rows are told of too."""
    rows = ANSWERS.replace(",cat", f",{RED}cat").replace("i", f"{RED}i").replace(",w", f",{RED}w")
    rows = rows.replace(f"task,{RED}worker", "task,worker")
    (tmp_path / f"{RED}a.csv").write_text(rows + f"{RED}i1,{RED}w1,dog\n")
    random = np.random.default_rng(0)
    (tmp_path / "f.csv").write_text("task,x,y\n" + "".join(
        f"{RED}i{k},{k % 2 + random.normal() / 9},{random.normal()}\n" for k in range(12)))
    (tmp_path / "t.csv").write_text(f"task,label\n{RED}i1,{RED}cat\n{RED}elsewhere,dog\n")
    answers = ["--answers", f"{RED}a.csv"]
    trained = [*answers, "--features", "f.csv", "--epochs", "1", "--methods", "majority-vote", "--device", "cpu"]
    done = [command("OwnData", *flags) for flags in (
        [*answers, "--check"], [*trained, "--check"], [*answers, "--truth", "t.csv", "--out", f"{RED}alone"],
        [*answers, "--truth", "t.csv", "--out", f"{RED}alone"], [*trained, "--out", "run"], [*trained, "--out", "run"],
        [*answers, "--classes", "a", "b"], [*answers, "--columns", "a", "b", "c"])]
    done += [command("OwnData/predict.py", "run", "--features", "f.csv", "--out", f"{RED}p.csv")]
    assert [run.returncode for run in done] == [0] * 6 + [2] * 2 + [0]
    assert all("\x1b" not in run.stdout + run.stderr for run in done)
    assert r"6 \x1b[31mcat" in done[0].stdout and r"\x1b[31mp.csv" in done[-1].stdout
    assert f"{RED}cat" in (tmp_path / f"{RED}alone" / "labels.csv").read_text()  # the files have the names as they are


def test_names_that_a_spreadsheet_takes_for_formulas(tmp_path, command, capsys):
    (tmp_path / "a.csv").write_text(ANSWERS.replace("i3,", "=1+1,").replace("w1", "@SUM(A1)").replace("cat", "-1"))
    done = command("OwnData", "--answers", "a.csv", "--out", "run")
    assert "notice: 2 names begin with = + - or @ (=1+1, @SUM(A1)): a spreadsheet may run" in done.stdout
    assert done.stdout.count("a spreadsheet") == 1 and "=1+1" in (tmp_path / "run" / "labels.csv").read_text()
    notice_formulas(["a=1", "-1", "+3.5", "cat"], [])
    assert capsys.readouterr().out == ""
