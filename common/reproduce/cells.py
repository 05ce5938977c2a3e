"""The cells of a paper's table: one run each, by data set, case, expertise and seed."""
import dataclasses
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from common.names import UPPER_BOUND
from common.output.records import read_config, read_summary
from common.reproduce.numbers import slug
from common.reproduce.provenance import words
from common.system.errors import UserError
from common.system.files import holder
from common.training.options import SynthesizedOptions

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class DataSet:
    """What there is to reproduce: its script, what it is, the flags of an example."""
    script: str
    about: str
    example: str


DATASETS = {
    "digits": DataSet("Digits/main.py", "The paper's crowds on scikit-learn's handwritten digits. Needs no download.",
                      "--seeds 5"),
    "labelme": DataSet("labelme/cotraining_labelme.py", "LabelMe's 59 annotators; --path is the folder with the features.",
                       "--seeds 10 --path labelme/prepared"),
    "luna16": DataSet("LUNA16/main.py", "The paper's crowds on crops of lung scans; --path is the prepared folder.",
                      "--seeds 5 --path DATA"),
    "dogs-vs-cats": DataSet("DogsVsCats/main.py", "The paper's crowds on photographs; --path is Kaggle's folder of images.",
                            "--seeds 5 --path DATA --cases 1 --expertise 1"),
    "cifar10": DataSet("Cifar10/main.py", "The paper's crowds on CIFAR-10; --path is the folder with the batches.",
                       "--seeds 5 --path DATA"),
    "cifar10h": DataSet("Cifar10/main.py", "CIFAR-10H's 2,571 people on CIFAR-10's test images.", "--seeds 5 --path DATA"),
    "cifar10n": DataSet("Cifar10/main.py", "CIFAR-10N's people on CIFAR-10's training images.", "--seeds 5 --path DATA"),
    "own": DataSet("OwnData/main.py", "Your own answers, with the flags of OwnData/main.py.",
                   "--seeds 3 --answers OwnData/example/answers.csv --images OwnData/example/images"),
}
PEOPLE = ("cifar10h", "cifar10n")  # crowds of CIFAR-10 other than the synthesized ones
ERROR = "error.txt"


@dataclass(frozen=True)
class Cell:
    """One run: its row in the table, its folder, the script's arguments."""
    row: str
    folder: Path
    arguments: tuple

    @property
    def summary(self):
        """What a finished run left in summary.json, or None."""
        return read_summary(self.folder)

    @property
    def done(self):
        return self.summary is not None

    @property
    def config(self):
        """The record of the run that the folder holds, or None."""
        return read_config(self.folder)  # the script reports any other content

    @property
    def knows_truth(self):
        """Whether the finished run that the folder holds knows the truth of any training item. False for a stopped run; the
        script checks that one itself."""
        return self.done and self.summary["majority_vote_accuracy"] is not None

    @property
    def failed(self):
        return (self.folder / ERROR).exists()

    def failed_since(self, started):
        """Whether a script has failed in this launch, begun at that time, whichever worker started it."""
        return self.failed and (self.folder / ERROR).stat().st_mtime >= started

    def state(self):
        """done, running, failed, stopped after an epoch, or not begun."""
        if self.done:
            return "done"
        if holder(self.folder):
            return "running"
        if self.failed:
            return "failed"
        metrics = self.folder / "metrics.csv"
        rows = metrics.read_text(encoding="utf-8", errors="replace").splitlines() if metrics.exists() else []
        if len(rows) < 2:
            return "not begun"
        last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=False))
        stage = f"stage {last['stage']}, " if last.get("stage") else ""
        return f"stopped after {stage}epoch {last['epoch']}"


def make_cells(options, extra, script):
    """All cells, seed by seed, so that every row has its first numbers early."""
    cells, base = [], ["--path", options.path] if options.path else []
    if options.dataset in PEOPLE:
        base += ["--crowd", options.dataset]
    kinds = [(case, expertise) for case in options.cases for expertise in options.expertise]
    if options.dataset in PEOPLE or not isinstance(script.read_options([]), SynthesizedOptions):  # the crowd is real
        kinds = [(None, None)]
    for seed in range(options.seeds):
        for case, expertise in kinds:
            row, place = options.dataset, []
            if case:
                row = row_name(case, expertise)
                place = ["--case", str(case), "--expertise", str(expertise)]
            folder = options.out / f"{slug(row)}-seed{seed}"
            cells.append(Cell(row, folder, (*base, *place, "--seed", str(seed), *extra, "--out", str(folder))))
    return cells


def row_name(case, expertise):
    """The name of a synthesized crowd's row: `case 2, high`."""
    return f"case {case}, {'high' if expertise else 'low'}"


def parts(out):
    """The folders that hold the cells of a table: `out`; or, where it has none, those in it, each the same rows by other
    methods: what methods find does not depend on which run beside them."""
    return [out] if any(out.glob("*-seed*")) else sorted({cell.parent for cell in out.glob("*/*-seed*")}) or [out]


def seeds_in(folder):
    """How many seeds, from 0 on, the cells in the folder or its parts have; 0 where there are none."""
    numbers = (path.name.rpartition("-seed")[2] for part in parts(folder) for path in part.glob("*-seed*"))
    return max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)


def load_script(dataset):
    """The module of the data set's script: it knows its flags."""
    path = ROOT / DATASETS[dataset].script
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"script_of_{dataset}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def refuse_others(cells, script):
    """Raises UserError for flags that the script does not take, and for a cell that holds a run of other flags."""
    for cell in cells:
        asked = json.loads(json.dumps(script.read_options(cell.arguments).of_the_run()))
        there = (cell.config or {}).get("run", {})
        for name, value in asked.items():
            filled_in = value is None or name == "precision" and value == "auto"  # by the script, once it knows the data
            if name == "methods" and UPPER_BOUND not in there.get(name, value) and not cell.knows_truth:  # it was left out
                value = [method for method in value if method != UPPER_BOUND]
            if not filled_in and name in there and there[name] != value:
                raise UserError(f"{cell.folder} holds a run with {name.replace('_', '-')} {words(there[name])}, not "
                                f"{words(value) or 'the default'}; give its flags, or another --out")


def finished_in_parts(cells, out):
    """[the finished cells of each part of `out` that has any]. Raises UserError for a method that one cell has twice."""
    found, place = [], {}
    for part in parts(out):
        finished = [dataclasses.replace(cell, folder=part / cell.folder.name) for cell in cells]
        finished = [cell for cell in finished if cell.done]
        for cell in finished:
            for method in cell.summary["methods"]:
                if place.setdefault((cell.folder.name, method), part) != part:
                    raise UserError(f"{cell.folder} and {place[cell.folder.name, method]} both have {method}; "
                                    "the parts of a table have methods of their own")
        found += [finished] if finished else []
    return found
