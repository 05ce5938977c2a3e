"""What months of use would bring: runs killed at any moment, files broken in any way. Counts what was lost, hung or crashed.

    python3 benchmarks/soak.py [--kills 300] [--mutations 100000] [--seed 0]

A kill ends a run before, during or after one of its writes (by a hook in what writes its files), or at a random moment; the
same command then goes on to the end. Its files must be those of a run that was not killed, bit for bit except the clocks. A
run with --fresh in the folder of another one must leave the old or the new. A mutation breaks a whole small file of a format
that is read: it must be read, or refused in one sentence, within seconds and 2 GB. Exits with 1 if anything was lost.
The killed runs are of Digits, of OwnData on answers alone and of OwnData with features, a third each.
"""
import argparse
import contextlib
import csv
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
for place in ("Digits", "Cifar10", "labelme", "DogsVsCats", "LUNA16", "OwnData", "tests", ""):
    sys.path.insert(0, str(ROOT / place))

import digits  # noqa: E402
from broken_files import make, mutate, outcome, run_of_own_data  # noqa: E402  behind the loop over the paths
from common.output import plots, run_folder  # noqa: E402
from common.system.errors import UserError  # noqa: E402

BATCH, SECONDS, MEMORY = 500, 20, 2e9  # mutations in a process; what one may take
TRAIN = ("--batch-size", "16", "--epochs", "2", "--methods", "majority-vote", "max-mig", "--device", "cpu")
RUN = ("--train-size", "60", "--test-size", "20", *TRAIN)
ALONE = ("--answers", "answers.csv")  # written by `kills` where it works
FEATURES = (*ALONE, "--features", "features.csv", "--folds", "2", *TRAIN)
COMMANDS = {"digits": ("Digits", RUN), "answers": ("OwnData", ALONE), "features": ("OwnData", FEATURES)}
MOMENTS = ("before", "during", "after")


def in_a_child(function, errors=None):
    """(status, bytes of memory at most): of a forked process that runs the function; a signal's number is negative."""
    child = os.fork()
    if not child:
        status = 70
        try:
            with open(errors or os.devnull, "a") as file:
                os.dup2(file.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                status = function() or 0
        except UserError as error:
            print("refused:", error, file=sys.stderr)
            status = 2
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024


# --- kills ----------------------------------------------------------------------------------------------------------

def script_main(script, arguments):
    """Runs main.py of the folder `script`. Its pictures, which take most of its time, are but files."""
    plots.curves = plots.confusions = lambda file, *_: file.write(b"a picture")
    spec = importlib.util.spec_from_file_location(f"{script}_script", ROOT / script / "main.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.main(list(arguments))


def kill_at(number, moment):
    """Makes this process kill itself at its write of that number, from 0."""
    replace_file, count = run_folder.replace_file, iter(range(10**9))

    def hooked(path, write, *arguments, **how):
        at = next(count) == number
        if at and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)

        def half(file):
            write(file)
            file.flush()
            os.ftruncate(file.fileno(), os.fstat(file.fileno()).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        replace_file(path, half if at and moment == "during" else write, *arguments, **how)
        if at:
            os.kill(os.getpid(), signal.SIGKILL)
    run_folder.replace_file = hooked


def kill_after(seconds):
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def left_by(folder):
    """The files of a finished run without its clocks: {name: content}."""
    left = {path.name: None for path in folder.iterdir()}
    for name in ("labels.csv", "annotators.csv", "confusion.npz"):
        left[name] = (folder / name).read_bytes()
    if "checkpoint.pt" in left:
        with open(folder / "metrics.csv", newline="") as file:
            left["metrics.csv"] = [row | {"seconds": None} for row in csv.DictReader(file)]
        learners = torch.load(folder / "checkpoint.pt", weights_only=True)["learners"]
        left["checkpoint.pt"] = {(name, key): value.numpy().tobytes() for name, learner in learners.items()
                                 for key, value in learner["method"].items()}
    summary = json.loads((folder / "summary.json").read_text())
    left["summary.json"] = {name: method["last"] for name, method in summary["methods"].items()}
    config = json.loads((folder / "config.json").read_text())
    left["config.json"] = {name: config[name] for name in ("run", "data")}
    return left


class Runs:
    """Whole runs of two seeds to compare with, and runs that are killed. command: (script's folder, flags)."""

    def __init__(self, folder, command):
        self.command = command
        self.folder, self.errors = folder, folder / "errors.txt"
        self.whole = {}
        for seed in (0, 1):
            self.run(seed, f"whole{seed}")
            self.whole[seed] = left_by(folder / f"whole{seed}")
        started = time.perf_counter()
        self.run(1, "whole1", "--fresh")
        self.seconds = time.perf_counter() - started

    def run(self, seed, name, *more, prepare=lambda: None):
        """The child's status, after prepare() in it."""
        def main():
            prepare()
            script, flags = self.command
            return script_main(script, [*flags, "--seed", str(seed), "--out", str(self.folder / name), *more])
        return in_a_child(main, self.errors)[0]

    def killed(self, prepare, fresh):
        """(whether the kill came before the end, what is wrong, or None) of a run of seed 1 with prepare() before it. fresh:
        in the folder of a finished run of seed 0."""
        folder = self.folder / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        if fresh:
            shutil.copytree(self.folder / "whole0", folder)
        status = self.run(1, "killed", *["--fresh"] * fresh, prepare=prepare)
        if status not in (0, -signal.SIGKILL):
            return True, f"ended with {status} before it was killed"
        seed, again = 1, self.run(1, "killed")
        if fresh and again == 2:  # the old run stands
            seed, again = 0, self.run(0, "killed")
        if again:
            return True, f"the command given again ends with {again}"
        left = left_by(folder)
        odd = [name for name in left.keys() | self.whole[seed].keys() if left.get(name, 0) != self.whole[seed].get(name, 0)]
        return status != 0, f"differs from a whole run in {', '.join(sorted(odd))}" if odd else None


def count_writes(folder, command):
    """How often a run of the command writes a file."""
    count = folder / "writes"

    def main():
        replace_file = run_folder.replace_file

        def counted(*arguments, **how):
            with open(count, "a") as file:
                file.write(".")
            replace_file(*arguments, **how)
        run_folder.replace_file = counted
        return script_main(command[0], [*command[1], "--out", str(folder / "counted")])
    in_a_child(main)
    return len(count.read_text())


def kills(folder, count, seed, every_write=False, names=tuple(COMMANDS)):
    """Prints and returns a Counter; with every_write a kill at each moment of each write. names: of COMMANDS."""
    digits.load()  # what this, a run's end and OwnData import is there for all children then
    importlib.import_module("common.training.finish")
    importlib.import_module("OwnData.aggregation")
    (folder / "answers.csv").write_text("task,worker,label\n" + "".join(
        f"i{k},w{w},{(k * w) % 7 % 2}\n" for k in range(40) for w in range(5)))
    (folder / "features.csv").write_text("task,a,b\n" + "".join(f"i{k},{k % 2},{k % 7}\n" for k in range(40)))
    found = Counter()
    for name in names:
        (folder / name).mkdir()
        found += kills_of(folder / name, COMMANDS[name], -(-count // len(names)), seed, every_write)
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in found.items())} so far", flush=True)
    return found


def kills_of(folder, command, count, seed, every_write):
    """`kills` of one command, (script's folder, flags)."""
    runs, writes = Runs(folder, command), count_writes(folder, command)
    random, found = np.random.default_rng(seed), Counter(writes=writes)
    plan = [(write, moment, bool((write + k) % 2)) for write in range(writes) for k, moment in enumerate(MOMENTS)]
    if not every_write:
        plan += [(None, random.uniform(0, runs.seconds), bool(random.integers(2))) for _ in range(count - len(plan))]
        plan = plan[:count]
    for write, moment, fresh in plan:
        def prepare(write=write, moment=moment):
            return kill_after(moment) if write is None else kill_at(write, moment)
        stopped, wrong = runs.killed(prepare, fresh)
        found += Counter({"kills": stopped, "ended before the kill": not stopped, "lost": wrong is not None})
        if wrong:
            print(f"{command[0]}, write {write}, {moment}{', --fresh' * fresh}: {wrong}\n{runs.errors.read_text()[-3000:]}")
    return found


# --- mutations ------------------------------------------------------------------------------------------------------

def break_files(made, name, seeds, report):
    """Reads mutations of a file, one for each seed; writes to the open file `report` what each came to."""
    path, read = made[name]
    content = path.read_bytes()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # what hangs is killed
    for seed in seeds:
        path.write_bytes(mutate(content, np.random.default_rng(seed)))
        report.write(f"{seed} ")
        report.flush()
        signal.alarm(SECONDS)
        found = outcome(read, path)
        signal.alarm(0)
        report.write(f"{found if isinstance(found, str) else 'lost'}\n")
        if not isinstance(found, str):
            print(f"{name}, seed {seed}: {found!r:.300}", file=sys.stderr)
            traceback.print_exception(found)
    path.write_bytes(content)


def mutations(folder, count, seed):
    """Prints and returns a Counter."""
    made = make(folder, run_of_own_data(folder))
    contents = {name: path.read_bytes() for name, (path, _) in made.items()}
    found, peak, names = Counter(), 0, list(made)
    for start in range(0, count, BATCH):
        name = names[start // BATCH % len(names)]
        seeds = range(seed * 10**9 + start, seed * 10**9 + min(start + BATCH, count))
        while seeds:
            report, errors = folder / "report.txt", folder / "errors.txt"
            errors.write_text("")

            def main(name=name, seeds=seeds, report=report):
                with open(report, "w") as file:
                    break_files(made, name, seeds, file)
            status, memory = in_a_child(main, errors)
            peak = max(peak, memory)
            lines = [line.split() for line in report.read_text().splitlines()]
            found += Counter({"mutations": len(lines)}) + Counter(line[1] for line in lines if len(line) == 2)
            if status:
                print(f"{name}, seed {lines[-1][0]}: ended with {status}")
                found["hung" if status == -signal.SIGALRM else "crashed"] += 1
            if memory > MEMORY:
                print(f"{name}, seeds {seeds}: {memory / 1e6:.0f} MB")
                found["lost"] += 1
            if errors.stat().st_size:
                print(errors.read_text()[-3000:])
            made[name][0].write_bytes(contents[name])
            seeds = seeds[len(lines):]
    found["peak MB"] = round(peak / 1e6)
    return found


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every-write", action="store_true", help="kills at each moment of each write alone")
    parser.add_argument("--of", nargs="+", choices=COMMANDS, help="runs to kill (with --every-write: digits answers)")
    options = parser.parse_args(arguments)
    names = options.of or tuple(COMMANDS)[:2 if options.every_write else None]
    torch.set_num_threads(1)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, soak in (("kills", lambda place: kills(place, options.kills, options.seed, options.every_write, names)),
                           ("mutations", lambda place: mutations(place, options.mutations, options.seed))):
            if getattr(options, name) or name == "kills" and options.every_write:
                started, place = time.perf_counter(), Path(folder) / name
                place.mkdir()
                with contextlib.chdir(place):
                    found = soak(place)
                bad += found["lost"] + found["crashed"] + found["hung"]
                print(f"{name}: {', '.join(f'{key} {value}' for key, value in found.items())}; "
                      f"{time.perf_counter() - started:.0f} s", flush=True)
    print(f"lost, crashed or hung: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
