"""A run killed before, during and after each of its writes goes on to what a run that was not killed leaves.

In a process of its own, which forks one for each run: torch is imported once.
"""
import re


def test_killed_at_every_write(shell):
    done = shell("benchmarks/soak.py", "--every-write", "--mutations", 0)
    assert done.returncode == 0, done.stdout + done.stderr
    writes, kills = map(int, re.search(r"kills: writes (\d+), kills (\d+); ", done.stdout).groups())
    assert kills == 3 * writes >= 39
