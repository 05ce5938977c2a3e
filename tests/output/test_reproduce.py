"""reproduce.py: every cell once, whatever is killed or fails, and the tables' numbers."""
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

import reproduce
from common.reproduce import files, numbers, tables, workers
from common.reproduce.cells import Cell
from common.system.errors import UserError
from common.system.files import claim
from conftest import forking, load_script

TINY = ("--train-size", 100, "--test-size", 60, "--epochs", 1, "--methods", "majority-vote", "max-mig", "true-label")
CELLS = ("digits", "--seeds", 2, "--cases", "1,2", "--expertise", "1")
NAMES = {f"case{case}-high-seed{seed}" for case in (1, 2) for seed in (0, 1)}

pytestmark = pytest.mark.usefixtures("blank_pictures")


def done_lines(text):
    return re.findall(r"^(\S+): done$", text, re.M)


def test_two_launches_share_the_cells_and_a_finished_one_is_not_run_again(start, command, tmp_path, forked_scripts):
    launches = [start("reproduce.py", *CELLS, *TINY, "--out", "shared") for _ in range(2)]
    outputs = [process.communicate()[0] for process in launches]
    assert all(process.returncode == 0 for process in launches)
    assert sorted(done_lines(outputs[0]) + done_lines(outputs[1])) == sorted(NAMES)
    assert all((tmp_path / "shared" / name / "summary.json").exists() for name in NAMES)
    for name in ("table.md", "table.tex", "table.csv", "figure.png"):
        assert (tmp_path / "shared" / name).stat().st_size > 100

    again = command("reproduce.py", *CELLS, *TINY, "--out", "shared", "--list")
    assert again.stdout.count(" done ") == 4
    (tmp_path / "shared" / "case2-high-seed1" / "summary.json").unlink()
    more = command("reproduce.py", *CELLS, *TINY, "--out", "shared", "--jobs", 2)
    assert more.returncode == 0 and done_lines(more.stdout) == ["case2-high-seed1"]


def test_torchrun_with_two_processes(start, tmp_path, forked_scripts):
    """With what torchrun puts into the environment; test_processes.py has torchrun itself."""
    launches = [start("reproduce.py", *CELLS, "--seeds", 1, *TINY, "--out", "out", env=os.environ | {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}) for rank in "01"]
    ended = [process.communicate() for process in launches]
    assert [process.returncode for process in launches] == [0, 0], ended
    names = sorted(name for name in NAMES if name.endswith("seed0"))
    said = ended[0][0] + ended[1][0]
    assert sorted(done_lines(said)) == names and said.count("tables and figures are in") == 1
    for name in names:
        threads = json.loads((tmp_path / "out" / name / "config.json").read_text())["threads"]
        assert threads == max(1, len(os.sched_getaffinity(0)) // 2)


def test_a_machine_that_does_not_say_how_many_cores_are_ours(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert reproduce.parse(["digits", "--jobs", "2"])[0].threads == max(1, os.cpu_count() // 2)


def test_killed_in_mid_cell_and_launched_again(start, command, shell, tmp_path, forked_scripts):
    arguments = ("reproduce.py", "digits", "--seeds", 1, "--cases", 1, "--expertise", 1, *TINY[:-4], "--methods", "max-mig",
                 "--epochs", 12, "--train-size", 600, "--out", "out")
    process = start(*arguments, start_new_session=True)
    metrics = tmp_path / "out" / "case1-high-seed0" / "metrics.csv"
    while not metrics.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    while (claimed := claim(metrics.parent)) is None:  # the script has it until its end, which may come after its launch's
        time.sleep(.01)
    claimed.file.close()
    stopped = shell(*arguments, "--list").stdout
    assert re.search(r"case1-high-seed0 +stopped after epoch \d", stopped)
    begun = metrics.read_text()
    again = command(*arguments)
    assert again.returncode == 0 and done_lines(again.stdout) == ["case1-high-seed0"]
    assert metrics.read_text().startswith(begun)  # the seconds too: the run that there was went on
    with open(metrics, newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file) if row["method"] == "max-mig"] == list(map(str, range(1, 13)))


def test_a_script_that_outlives_its_launch_keeps_its_claim(tmp_path):
    cell = Cell("row", tmp_path / "cell", ())
    mine = claim(cell.folder)
    assert claim(cell.folder) is None and cell.state() == "running"
    child = subprocess.Popen(["sleep", "60"], **mine.to_child())
    mine.file.close()  # as if we were killed
    assert claim(cell.folder) is None
    child.kill()
    child.wait()
    with claim(cell.folder) as again:
        assert again is not None
    assert cell.state() == "not begun"


def test_one_error_of_several_cells_is_printed_once(tmp_path, capsys):
    for case, error in ((1, "error: no --path"), (2, "error: disk full"), (3, "error: no --path")):
        (tmp_path / f"case{case}-high-seed0").mkdir()
        (tmp_path / f"case{case}-high-seed0" / "error.txt").write_text(error)
    assert reproduce.main(["digits", "--seeds", "1", "--expertise", "1", "--tables-only", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines() == ["case1-high-seed0, case3-high-seed0 failed: error: no --path",
                                                    "case2-high-seed0 failed: error: disk full"]


def test_a_failing_cell_leaves_the_others_alone(command, tmp_path, forked_scripts):
    folder = tmp_path / "out" / "case1-high-seed0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    done = command("reproduce.py", "digits", "--seeds", 1, "--cases", "1,2", "--expertise", 1, *TINY, "--out", "out")
    assert done.returncode == 1
    assert "case1-high-seed0: failed" in done.stdout and "case2-high-seed0: done" in done.stdout
    assert "1 of 2 cells are missing: case1-high-seed0" in done.stdout
    assert re.search(r"case1-high-seed0 failed: error: .*holds config.json, which is no run's", done.stderr)
    (folder / "config.json").unlink()
    again = command("reproduce.py", "digits", "--seeds", 1, "--cases", "1,2", "--expertise", 1, *TINY, "--out", "out")
    assert again.returncode == 0 and done_lines(again.stdout) == ["case1-high-seed0"]


def summary(last, best, label=None, error=None):
    method = {"last": {"test_accuracy": last, "test_auc": None}, "best": {"test_accuracy": best, "test_auc": None},
              "best_epoch": 1, "train_label_accuracy": label, "seconds": 1.}
    return method | ({} if error is None else {"annotator_error": error})


def test_tables_of_summaries_made_by_hand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed, (mig, vote) in enumerate([(.80, .60), (.86, .62), (.83, .58)]):
        folder = tmp_path / "out" / f"case1-low-seed{seed}"
        folder.mkdir(parents=True)
        methods = {"majority-vote": summary(vote, vote + .05), "max-mig": summary(mig, mig + .01, .9, .2 + seed / 10),
                   "max-mig-forecaster": summary(.95, .96, .97), "true-label": summary(.99, .99)}
        (folder / "summary.json").write_text(json.dumps({"methods": methods, "seconds": 30 + seed}))
    arguments = ["digits", "--seeds", "4", "--cases", "1", "--expertise", "0", "--out", "out"]
    with pytest.raises(UserError, match="--out nowhere: no such folder; expected that of earlier runs"):
        reproduce.main([*arguments[:-1], "nowhere", "--tables-only"])
    assert not (tmp_path / "nowhere").exists()
    assert reproduce.main([*arguments, "--tables-only"]) == 0
    assert "1 of 4 cells are missing: case1-low-seed3" in capsys.readouterr().out

    text = (tmp_path / "out" / "table.md").read_text()
    # of .80, .86, .83: mean .83, standard deviation .03 with n - 1; the forecaster is no rival, true-label neither
    assert "| case 1, low | 60.00 ± 2.00 | **83.00 ± 3.00** | 95.00 ± 0.00 | 99.00 ± 0.00 | 3 |" in text
    assert "| case 1, low | 65.00 ± 2.00 | **84.00 ± 3.00** | 96.00 ± 0.00 | 99.00 ± 0.00 | 3 |" in text
    assert "| case 1, low | 90.00 ± 0.00 | **97.00 ± 0.00** | 3 |" in text
    assert "| case 1, low | **0.300 ± 0.100** | 3 |" in text
    tex = (tmp_path / "out" / "table.tex").read_text()
    assert r"case 1, low & $60.00 \pm 2.00$ & $\mathbf{83.00 \pm 3.00}$ & $95.00 \pm 0.00$ & $99.00 \pm 0.00$ & 3 \\" in tex
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        rows = {(row["method"], row["measure"]): row for row in csv.DictReader(file)}
    row = rows["max-mig", "last_accuracy"]
    assert (float(row["mean"]), float(row["deviation"]), row["seeds"]) == (pytest.approx(.83), pytest.approx(.03), "3")
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")

    reproduce.main([*arguments, "--list"])
    listed = capsys.readouterr().out.splitlines()
    assert listed[0].split() == ["case1-low-seed0", "done", "30", "s"]
    assert listed[3].startswith("case1-low-seed3") and "not begun" in listed[3] and listed[3].endswith("about 31 s")
    assert "1 cells to go, about 0.5 minutes" in listed[4]


def test_tables_alone_take_all_seeds_there_are(tmp_path):
    def seeds(*flags):
        return reproduce.parse(["labelme", "--out", str(tmp_path), *flags])[0].seeds
    assert seeds() == seeds("--tables-only") == 5
    for seed in range(7):
        (tmp_path / f"labelme-seed{seed}").mkdir()
    assert (seeds(), seeds("--tables-only"), seeds("--tables-only", "--seeds", "3")) == (5, 7, 3)


def test_kd_crowd_figures_are_means_over_the_seeds(tmp_path):
    folders = [tmp_path / str(seed) for seed in range(2)]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        (folder / "memorization.csv").write_text(
            f"method,stage,epoch,mean,deviation\nmax-mig,0,1,{.2 + .2 * seed},.1\nkd-crowd-max-mig,2,1,.1,.1\n")
        (folder / "annotator_error.csv").write_text(f"annotator,max-mig,kd-crowd-max-mig\na,{1 + seed},.5\nb,,.5\n")
    rows = files.memorization_over_seeds(folders)
    assert rows[0] == {"method": "max-mig", "stage": 0, "epoch": 1, "mean": pytest.approx(.3),
                       "deviation": pytest.approx(.1)}
    errors = files.annotator_error_over_seeds(folders)
    assert errors["max-mig"][0] == 1.5 and np.isnan(errors["max-mig"][1])
    drawn = {}
    table = numbers.gather([("digits", {"methods": {"max-mig": summary(.8, .8)}})])
    files.figures(lambda name, draw: drawn.update({name: draw}), table, {"case 2, high": folders}, "digits")
    assert set(drawn) == {"figure.png", "memorization-case2-high.png", "annotator_error-case2-high.png"}
    for name, draw in drawn.items():
        with open(tmp_path / name, "wb") as file:
            draw(file)


@pytest.mark.parametrize(("arguments", "message"), [
    (("mnist",), "dataset: invalid choice: 'mnist'"), (("digits", "--cases", "4"), "--cases: expected some of 1, 2, 3"),
    (("digits", "--cases", "1,1,1"), "--cases: expected some of 1, 2, 3, each once, not '1,1,1'"),
    (("digits", "--seed", "3"), "reproduce.py sets --seed"), (("digits", "--seed=3"), "reproduce.py sets --seed"),
    (("digits", "--see", "5"), "unrecognized arguments: --see 5"),
    (("digits", "--cas=3"), "unrecognized arguments: --cas=3"), (("digits", "--fresh"), "--fresh: reproduce.py sets"),
    (("cifar10h", "--crowd=cifar10n"), "reproduce.py sets --seed, --case, --crowd"),
    (("digits", "--epochs", "none"), "--epochs: expected a whole number"),
    (("digits", "--jobs", "0"), "--jobs: expected a whole number"),
])
def test_bad_flags(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(message)):
        reproduce.main(list(arguments))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def two_cells(tmp_path_factory):
    """A folder with two finished cells, and the flags that made it."""
    out = tmp_path_factory.mktemp("cells")
    flags = ["digits", "--seeds", "2", "--cases", "1", "--expertise", "1", "--out", str(out)]
    with forking():
        assert reproduce.main([*flags, *map(str, TINY), "--device", "cpu"]) == 0
    return out, flags


def test_a_folder_made_with_other_flags_is_refused(two_cells, tmp_path, capsys):
    out, flags = two_cells
    assert reproduce.main([*flags, *map(str, TINY)]) == 0  # nothing runs again
    assert "done" not in capsys.readouterr().out
    with pytest.raises(UserError, match="case1-high-seed0 holds a run with train-size 100, not 90; give its flags"):
        reproduce.main([*flags, *map(str, TINY), "--train-size", "90"])
    with pytest.raises(UserError, match="holds a run with methods majority-vote max-mig true-label, not"):
        reproduce.main(flags)
    assert reproduce.main([*flags, "--tables-only"]) == 0  # of what there is, whatever its flags
    text = (out / "table.md").read_text()
    assert "python3 reproduce.py digits --seeds 2 --cases 1 --expertise 1 --train-size 100 --test-size 60 --epochs 1 " \
           "--methods majority-vote" in text
    assert time.strftime("Measured %Y") in text

    mixed = tmp_path / "mixed"
    shutil.copytree(out, mixed)
    config = json.loads((mixed / "case1-high-seed1" / "config.json").read_text())
    config["run"]["epochs"] = 2
    (mixed / "case1-high-seed1" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="runs with epochs 2 and 1 in one table"):
        reproduce.main([*flags[:-1], str(mixed), "--tables-only"])
    config["run"] |= {"epochs": 1, "methods": ["majority-vote", "max-mig"]}  # as where no truth is known
    (mixed / "case1-high-seed1" / "config.json").write_text(json.dumps(config))
    (mixed / "case1-high-seed0" / "config.json").unlink()
    with pytest.raises(UserError, match="holds a run with methods majority-vote max-mig, not .* true-label"):
        reproduce.main([*flags[:-1], str(mixed), *map(str, TINY)])
    summary = json.loads((mixed / "case1-high-seed1" / "summary.json").read_text())
    (mixed / "case1-high-seed1" / "summary.json").write_text(json.dumps(summary | {"majority_vote_accuracy": None}))
    capsys.readouterr()
    assert reproduce.main([*flags[:-1], str(mixed), *map(str, TINY), "--record", str(tmp_path / "kept")]) == 0
    assert "1 runs have no config.json; nothing of them is recorded" in capsys.readouterr().out
    assert [folder.name for folder in (tmp_path / "kept").glob("case*")] == ["case1-high-seed1"]


def test_methods_that_ran_apart_make_one_table(two_cells, tmp_path):
    out, flags = two_cells
    whole = tmp_path / "whole"
    for part, names, seeds in (("a", ["majority-vote", "true-label"], 2), ("b", ["max-mig", "max-mig-forecaster"], 1)):
        for seed in range(seeds):
            folder, there = whole / part / f"case1-high-seed{seed}", out / f"case1-high-seed{seed}"
            folder.mkdir(parents=True)
            summary, config = (json.loads((there / name).read_text()) for name in ("summary.json", "config.json"))
            config["run"]["methods"] = config["flags"]["methods"] = names[:1]
            summary["methods"] = {name: summary["methods"][name] for name in names}
            (folder / "summary.json").write_text(json.dumps(summary))
            (folder / "config.json").write_text(json.dumps(config))
    assert reproduce.main([*flags, "--tables-only"]) == 0
    apart = ["digits", "--cases", "1", "--out", str(whole), "--tables-only", "--record", str(tmp_path / "kept")]
    assert reproduce.main(apart) == 0

    def column(folder, name):
        with open(folder / "table.csv", newline="") as file:
            return [line for line in csv.DictReader(file) if line["method"] == name]
    assert column(whole, "majority-vote") == column(out, "majority-vote")
    assert {line["seeds"] for line in column(whole, "max-mig")} == {"1"}
    text = (whole / "table.md").read_text()
    assert re.search(r"--seeds 2 .*--methods majority-vote\n    python3 .*--seeds 1 .*--methods max-mig\n\nMeasured", text)
    assert (tmp_path / "kept" / "b" / "case1-high-seed0" / "config.json").exists()

    shutil.copytree(whole / "a", whole / "c")
    with pytest.raises(UserError, match="case1-high-seed0 and .*a both have majority-vote"):
        reproduce.main(apart)
    shutil.rmtree(whole / "c")
    config["run"]["epochs"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="runs with epochs 2 and 1 in one table"):
        reproduce.main(apart)


def test_records_make_the_same_tables(two_cells, tmp_path, monkeypatch):
    """config.json and summary.json alone are enough; documents are filled in between their marks."""
    out, flags = two_cells
    assert reproduce.main([*flags, "--tables-only", "--record", str(tmp_path / "results" / "digits")]) == 0
    kept = tmp_path / "results" / "digits"
    assert {file.name for file in (kept / "case1-high-seed1").iterdir()} == {"config.json", "summary.json"}
    assert str(tmp_path) not in (kept / "case1-high-seed1" / "config.json").read_text()
    line = '"case 1, high",max-mig,{},VGG-16,the best epoch,a paper,pixels,{}\n'
    (tmp_path / "results" / "published.csv").write_text("row,method,accuracy,network,rule,source,network here,folder\n"
                                                        + line.format("99.0", "") + line.format("98.0", "own-music"))
    (tmp_path / "README.md").write_text(
        "# Here\n\n<!-- results/digits: last_accuracy, published -->\nold\n<!-- end -->\nmore\n")
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "results" / "other.md").write_text("<!-- results/other: last_accuracy -->\nold\n<!-- end -->\n")
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    monkeypatch.setattr(reproduce, "load_script", lambda dataset: load_script("Digits"))
    assert reproduce.main([*flags[:-1], str(kept), "--tables-only"]) == 0
    filled = (tmp_path / "README.md").read_text()
    assert filled.startswith(
        "# Here\n\n<!-- results/digits: last_accuracy, published -->\n\n**last epoch, test accuracy (%)**")
    assert filled.endswith("<!-- end -->\nmore\n") and "\nold\n" not in filled
    assert "| max-mig | 99.0 | VGG-16 | the best epoch | a paper |" in filled and "98.0" not in filled
    assert "test accuracy (%); here with pixels**" in filled and "best test epoch, test accuracy" not in filled
    assert "\nold\n" in (tmp_path / "docs" / "results" / "other.md").read_text()
    first = (out / "table.md").read_text()
    assert (kept / "table.md").read_text().startswith(first[:first.index("**published")] if "published" in first else first)


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(UserError, match="cannot be written to"):
            reproduce.main(["digits", "--seeds", "1", *map(str, TINY), "--out", str(out)])


def test_what_a_worker_raises_is_raised(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(workers, "run_cell", full)
    with pytest.raises(UserError, match="No space left on device"):
        reproduce.main(["digits", "--seeds", "2", "--jobs", "2", "--out", str(tmp_path / "out")])


def test_a_failing_cell_is_tried_once_by_all_workers(tmp_path, monkeypatch):
    tried = []

    def fail(cell, *_):
        tried.append(cell.folder.name)
        time.sleep(.05)
        (cell.folder / "error.txt").write_text("error: broken\n")
    monkeypatch.setattr(workers, "run_cell", fail)
    flags = ["digits", "--seeds", "2", "--cases", "1", "--jobs", "3", "--out", str(tmp_path / "out")]
    assert reproduce.main(flags) == 1
    assert len(tried) == 4 and len(set(tried)) == 4
    assert reproduce.main(flags) == 1
    assert len(tried) == 8  # a new launch tries again


def test_what_was_chosen_without_the_truth():
    method = {"selected": {"test_accuracy": .8}}
    run = {"methods": {"max-mig": method, "aggnet": {"selected": {"test_accuracy": .9}},
                       "true-label": {"selected": {"test_accuracy": .99}}, "max-mig-forecaster": method},
           "best_method": "max-mig", "label_accuracy": .85, "calibration_error": .05,
           "label_estimates": {"majority-vote": .7, "one-coin": .75, "true-label": .99, "aggnet-posterior": .88}}
    run["annotator_correlation"] = {"estimated": .6, "majority-vote": None, "dawid-skene": .4}
    labels, chosen, people = numbers.gather_choices([
        ("row", run), ("row", run | {"label_accuracy": .87, "ensemble": {"test_accuracy": .96}}),
        ("row", run | {"best_method": None})]).values()
    assert labels["row"]["labels.csv"].mean == pytest.approx(.86) and labels["row"]["labels.csv"].seeds == 2
    assert labels["row"]["best by the truth"].mean == pytest.approx(.88) and "dawid-skene" not in labels["row"]
    assert chosen["row"]["best held-out log-likelihood"].mean == pytest.approx(.8)
    assert chosen["row"]["best by the truth"].mean == pytest.approx(.9)
    assert chosen["row"]["final classifier"].mean == pytest.approx(.88)  # the method's own where it is alone
    assert {name: number.mean for name, number in people["row"].items()} == {"annotators.csv": .6, "dawid-skene": .4}
    text = "\n".join(grid.markdown() for grid in tables.sections({}, numbers.gather_choices([("row", run)]), []))
    assert "| row | 0.600 | 0.400 | 1 |" in text
    assert "| row | 80.00 | 90.00 | 80.00 | 1 |" in text  # of one seed no deviation is known


def test_kd_crowd_beside_its_crowd_model():
    def run(**last):
        return {"methods": {name: {"last": {"test_accuracy": accuracy}} for name, accuracy in last.items()}}
    runs = [("row", run(**{"max-mig": .8, "kd-crowd-max-mig": .9, "kd-crowd-aggnet": .7})),
            ("row", run(**{"max-mig": .82, "kd-crowd-max-mig": .9}))]
    def pairs(runs):
        return [grid.markdown() for grid in tables.sections(numbers.gather(runs), {}, [], ["pairs"])]
    (table,) = pairs(runs)
    assert "| | last epoch, alone | last epoch, KD-Crowd | seeds |" in table  # without columns that nobody has
    assert "| max-mig | 81.00 ± 1.41 | 90.00 ± 0.00 | 2 |" in table and "aggnet" not in table
    (both,) = pairs([*runs, ("other", runs[1][1])])
    assert "| row: max-mig |" in both and "| other: max-mig |" in both
    assert not pairs([("row", run(aggnet=.8))])


def test_tables_of_runs_that_test_nothing(tmp_path):
    """All items have answers, and a truth that scores the labels alone."""
    run = {"methods": {"max-mig": {"last": None, "best": None, "best_epoch": None, "train_label_accuracy": .9,
                                   "seconds": 1.}},
           "best_method": "max-mig", "label_accuracy": .85, "calibration_error": .05, "seconds": 1.,
           "label_estimates": {"majority-vote": .7, "one-coin": .75, "max-mig-posterior": .88}}
    (tmp_path / "own-seed0").mkdir()
    (tmp_path / "own-seed0" / "summary.json").write_text(json.dumps(run))
    assert reproduce.main(["own", "--seeds", "1", "--tables-only", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "table.md").read_text()
    assert "| own | 70.00 | 75.00 | 85.00 | 88.00 | 5.00 | 1 |" in text
    assert "put first" not in text and not (tmp_path / "figure.png").exists()


def test_every_script_names_the_command_of_its_row(command):
    done = command("Digits", "--case", 2, "--expertise", 0, *TINY)
    assert "python3 reproduce.py digits --cases 2 --expertise 0 --train-size 100 --test-size 60 --epochs 1 " \
           "--methods majority-vote max-mig true-label" in done.stdout
