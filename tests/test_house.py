"""The house: which floor may import which."""
import ast

import pytest

from conftest import ROOT

FLOORS = ("common.data", "common.output", "common.training")  # above the science: all else in common/


def floor(module):
    """0 for the science, then data, output, training; above them the scripts."""
    for number, name in enumerate(FLOORS, 1):
        if module == name or module.startswith(name + "."):
            return number
    return 0 if module.startswith("common") else len(FLOORS) + 1


@pytest.mark.parametrize("file", sorted(ROOT.glob("common/**/*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_import_runs_upstairs(file):
    here = floor(".".join(file.relative_to(ROOT).with_suffix("").parts))
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [
            f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.startswith("common"):
                assert floor(name) <= here, f"{name} is above"
