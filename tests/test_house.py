"""The layers of common/: imports run downwards only. No file is long."""
import ast

import pytest

from common.output.files import files_table
from conftest import ROOT, load_script

LAYERS = ("common.names", "common.system", "common.losses", "common.crowd", "common.data", "common.networks",
          "common.methods.method", "common.methods", "common.kd_crowd", "common.methods.registry", "common.evaluation",
          "common.output", "common.training", "common.reproduce")


def layer(module):
    """The number of the deepest layer that a module belongs to."""
    return max((len(name), number) for number, name in enumerate(LAYERS)
               if module == name or module.startswith(name + "."))[1]


@pytest.mark.parametrize("file", sorted(ROOT.glob("common/*/**/*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_downwards_only(file):
    here = layer(".".join(file.relative_to(ROOT).with_suffix("").parts))
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [
            f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert not name.startswith("common.") or layer(name) <= here, f"{name} is above"


def test_no_file_is_long():
    files = *ROOT.glob("common/**/*.py"), *ROOT.glob("OwnData/*.py")
    assert not [str(file) for file in files if file.read_text().count("\n") > 300]


def test_the_page_of_files_is_the_list_of_files():
    assert files_table() in (ROOT / "docs" / "run-files.md").read_text()


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda file: file.name)
def test_benchmarks_can_be_imported(file):
    """Nobody runs them often: what they import must not have gone."""
    load_script("benchmarks", file.name)
