"""A run killed before, during and after each of its writes goes on to what a run that was not killed leaves.

In a process of its own, which forks one for each run: torch is imported once.
"""
import re


def test_killed_at_every_write(start):
    process = start("benchmarks/soak.py", "--every-write", "--mutations", 0)
    said, errors = process.communicate(timeout=1800)
    assert process.returncode == 0, said + errors
    writes, kills = map(int, re.search(r"kills: writes (\d+), kills (\d+); ", said).groups())
    assert kills == 3 * writes >= 39
