"""A run killed before, during and after its writes goes on to what a run that was not killed leaves.

In a process of its own, which forks one for each run: torch is imported once. benchmarks/soak.py --every-write has the other
writes too, which differ from these in the file's name alone.
"""
import re
from collections import Counter
from pathlib import Path

import pytest
import soak

from common.output import run_folder
from conftest import call

# (file, how often it was written before, moments)
DIGITS = (("checkpoint.pt", 0, soak.MOMENTS), ("config.json", 0, soak.MOMENTS), ("metrics.csv", 0, soak.MOMENTS),
          ("checkpoint.pt", 1, ("during", "after")), ("metrics.csv", 1, ("during",)), ("labels.csv", 0, ("during",)),
          ("confusion.npz", 0, ("before",)), ("curves.png", 0, ("during",)), ("report.html", 0, ("after",)),
          ("summary.json", 0, soak.MOMENTS))
ANSWERS = (("config.json", 0, soak.MOMENTS), ("labels.csv", 0, ("after",)), ("confusion.npz", 0, ("during",)),
           ("report.html", 0, ("before",)), ("summary.json", 0, soak.MOMENTS))


def written_by(folder, command):
    """The names of the files that a run of the command writes, in their order."""
    names = folder / "names"

    def main():
        replace_file = run_folder.replace_file

        def noted(path, *arguments, **how):
            with open(names, "a") as file:
                file.write(f"{Path(path).name}\n")
            replace_file(path, *arguments, **how)
        run_folder.replace_file = noted
        return soak.script_main(command[0], [*command[1], "--out", str(folder / "counted")])
    soak.in_a_child(main)
    return names.read_text().split()


def kills_of(folder, command, *_):
    """Stands for soak.kills_of: kills at the moments above, every other one with --fresh in the folder of another run."""
    runs, names, found = soak.Runs(folder, command), written_by(folder, command), Counter()
    for file, before, moments in DIGITS if command[0] == "Digits" else ANSWERS:
        number = [k for k, name in enumerate(names) if name == file][before]
        for moment in moments:
            def prepare(number=number, moment=moment):
                soak.kill_at(number, moment)
            fresh = bool(found["kills"] % 2)
            stopped, wrong = runs.killed(prepare, fresh)
            found += Counter({"planned": 1, "kills": stopped, "lost": wrong is not None})
            if wrong:
                print(f"{command[0]}, {file}, {moment}{', --fresh' * fresh}: {wrong}\n{runs.errors.read_text()[-3000:]}")
    return found


def kill():
    soak.kills_of = kills_of
    return soak.main(["--every-write", "--mutations", "0"])


@pytest.mark.timeout(600)
def test_killed_at_every_kind_of_write(tmp_path):
    process = call(kill, cwd=tmp_path, text=True, stdout=-1, stderr=-1)
    said, errors = process.communicate()
    assert process.returncode == 0, said + errors
    planned, kills = map(int, re.search(r"kills: planned (\d+), kills (\d+); ", said).groups())
    assert kills == planned == sum(len(moments) for *_, moments in DIGITS + ANSWERS)
