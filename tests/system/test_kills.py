"""A run killed before, during and after each of its writes goes on to what a run that was not killed leaves.

In a process of its own, which forks one for each run: torch is imported once.
"""
import os
import re
import subprocess
import sys

from conftest import ROOT


def test_killed_at_every_write(tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "soak.py"), "--every-write", "--mutations", "0"],
                          cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    writes, kills = map(int, re.search(r"kills: writes (\d+), kills (\d+); ", done.stdout).groups())
    assert kills == 3 * writes >= 39
