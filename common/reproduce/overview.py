"""What there is to reproduce, for a terminal."""
import shutil
import textwrap

from common.output.records import read_config
from common.reproduce.cells import DATASETS, PEOPLE

INDENT = "    "


def overview(root):
    """The lines that say what there is: each data set, its script, its cells, an example, what results/ has of it."""
    width = shutil.get_terminal_size().columns
    recorded, lines = recorded_runs(root / "results"), []
    for name, dataset in DATASETS.items():
        there = ", ".join(f"{folder} ({count})" for folder, count in recorded.get(name, {}).items())
        lines += [f"{name}: {dataset.script}"]
        for text in (dataset.about, cells_of(name), f"results/ has (runs): {there}" if there else "results/ has none of it"):
            lines += textwrap.wrap(text, width, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False)
        lines += [f"{INDENT}python3 reproduce.py {name} {dataset.example}", ""]
    return [*lines, "claims: what the papers claim beside what results/ has, in README.md and docs/results/README.md",
            f"{INDENT}python3 reproduce.py claims --tables-only", "",
            *textwrap.wrap("Add --list for the cells of a data set and their state, --help for all flags.", width)]


def cells_of(name):
    """What the cells of a data set are."""
    if name in PEOPLE or name in ("labelme", "own"):
        return "1 cell for each seed"
    return "6 cells for each seed: cases 1, 2, 3 with high and low expertise (--cases, --expertise)"


def recorded_runs(results):
    """{data set: {folder: number of runs}} of the records in results/."""
    found = {}
    for folder in sorted(path for path in results.glob("*") if path.is_dir()):
        for path in sorted(folder.rglob("*-seed*")):
            config = read_config(path)
            if config:
                place = found.setdefault(name_of(config), {})
                place[folder.name] = place.get(folder.name, 0) + 1
    return found


def name_of(config):
    """What reproduce.py calls the data set of a run's record."""
    crowd = config["run"].get("crowd") or config["flags"].get("crowd")
    if config["dataset"] == "cifar10" and crowd in PEOPLE:
        return crowd
    return config["dataset"] if config["dataset"] in DATASETS else "own"
