"""README and docs: links lead somewhere, and commands name scripts and flags that exist."""
import functools
import re
import subprocess

import pytest

from conftest import ROOT, call, run_script

DOCUMENTS = [ROOT / "README.md", ROOT / "LOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
COMMAND = re.compile(r"python3 ((?:\w+/)*\w+\.py)((?: (?!&&|\|)[^\s`]+)*)")
OLDER = "docs/results/"  # commands of records stand as they were given


def name(path):
    return path.relative_to(ROOT).as_posix()


@functools.cache
def help_of(script):
    help_of_it, _ = call(run_script, script, ["--help"], stdout=subprocess.PIPE, text=True).communicate()
    return help_of_it + (ROOT / script).read_text()  # a script without --help takes no flags


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
        assert target.startswith("http") or (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_no_conflict_of_a_merge_is_left(document):
    assert not re.search("^(<<<<<<< |=======$|>>>>>>> )", document.read_text(), re.MULTILINE)


@pytest.mark.parametrize("document", [path for path in DOCUMENTS
                                      if not name(path).startswith(OLDER) and path.name != "LOG.md"], ids=name)
def test_commands_name_scripts_and_flags_that_exist(document):
    for script, arguments in COMMAND.findall(document.read_text()):
        paths = [path for path in (ROOT / script, *ROOT.glob(f"*/{script}")) if path.exists()]
        assert paths, script
        if script.startswith("benchmarks") or script == "reproduce.py":  # they take seconds to import; they pass flags on
            continue
        for flag in re.findall(r"--[\w-]+", arguments):
            assert any(flag in help_of(path.relative_to(ROOT).as_posix()) for path in paths), f"{script} {flag}"
