"""The papers' tables and figures: runs every cell (case, expertise, seed) through the scripts and gathers the results.

    python3 reproduce.py digits --seeds 5
    python3 reproduce.py labelme --path labelme/prepared --seeds 10 --methods all kd-crowd-max-mig
    torchrun --nproc-per-node 4 reproduce.py cifar10 --path DATA --seeds 5 --out SHARED

Finished cells are never run again and a killed one goes on at its last epoch. Several processes, launches and machines
may work in one folder: each cell is claimed by a lock that ends with the process which works on it. Flags that are not
listed here go to the script as they are.
"""
from common.system.errors import UserError, launch, printable  # first: then Control-C in the imports is no traceback

# isort: split
import argparse
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from common.names import UPPER_BOUND
from common.output import tables
from common.output.files import CONFIG, SUMMARY
from common.output.records import read_config, read_summary
from common.system.files import claim, holder, replace_file
from common.system.processes import number_of
from common.training.options import Parser, SynthesizedOptions, whole

ROOT = Path(__file__).resolve().parent
SCRIPTS = {"labelme": "labelme/cotraining_labelme.py", "digits": "Digits/main.py", "luna16": "LUNA16/main.py",
           "dogs-vs-cats": "DogsVsCats/main.py", "cifar10": "Cifar10/main.py", "cifar10h": "Cifar10/main.py",
           "cifar10n": "Cifar10/main.py", "own": "OwnData/main.py"}
ROWS = {"cases": [1, 2, 3], "expertise": [1, 0]}  # of a crowd that is synthesized
PEOPLE = ("cifar10h", "cifar10n")  # crowds of CIFAR-10 other than the synthesized ones
ERROR = "error.txt"
PLACES = ("DIR", "FILE")  # what a flag's help calls a place in the file system


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
        return read_config(self.folder)  # of what else may be there the script will tell

    @property
    def knows_truth(self):
        """Whether the finished run that the folder holds knows the truth of any training item. What a stopped one knows, the
        script will tell."""
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
        return f"stopped after epoch {rows[-1].split(',')[0]}" if len(rows) > 1 else "not begun"


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
                row = f"case {case}, {'high' if expertise else 'low'}"
                place = ["--case", str(case), "--expertise", str(expertise)]
            folder = options.out / f"{tables.slug(row)}-seed{seed}"
            cells.append(Cell(row, folder, (*base, *place, "--seed", str(seed), *extra, "--out", str(folder))))
    return cells


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
    path = ROOT / SCRIPTS[dataset]
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
                raise UserError(f"{cell.folder} holds a run with {name.replace('_', '-')} {tables.words(there[name])}, not "
                                f"{tables.words(value)}; give its flags, or another --out")


def run_cell(cell, claimed, options, number, show):
    """Runs the script, to which the claim on the cell's folder is passed on; show(text) is called with each line it prints.
    Leaves error.txt if it fails. Where there are GPUs, each worker has one, by its number."""
    passed_on = claimed.to_child()
    environment = passed_on["env"] | ({"OMP_NUM_THREADS": str(options.threads)} if options.threads else {})
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):  # of this launch, not of the script's
        environment.pop(name, None)
    device = options.device or (str(number % options.gpus) if options.gpus else None)
    process = subprocess.Popen([sys.executable, str(ROOT / SCRIPTS[options.dataset]), *cell.arguments,
                                *(["--device", device] if device else [])],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
                               env=environment,
                               pass_fds=passed_on["pass_fds"])
    errors = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    for line in process.stdout:
        if line.strip():
            show(f"{cell.folder.name}: {line.strip()[:100]}")
    reader.join()
    if process.wait():
        text = "".join(errors[-30:]).strip() or f"exit status {process.returncode}\n"
        replace_file(cell.folder / ERROR, lambda file: file.write(text), "w")
    else:
        (cell.folder / ERROR).unlink(missing_ok=True)


def work(cells, options, number, started):
    """Takes one cell after another that is neither done, nor claimed, nor failed in this launch. The workers of all
    processes are numbered."""
    # each worker begins at another place, so that they seldom ask for the same cell
    order = cells[number % len(cells):] + cells[:number % len(cells)]
    with tqdm(total=0, position=number, bar_format="{desc}", leave=False, disable=None) as line:
        while True:
            busy = False
            for cell in order:
                if cell.done or cell.failed_since(started):
                    continue
                claimed = claim(cell.folder)
                if claimed is None:
                    busy = True
                    continue
                with claimed:
                    if not cell.done and not cell.failed_since(started):
                        run_cell(cell, claimed, options, number, line.set_description_str)
                        tqdm.write(f"{cell.folder.name}: {'done' if cell.done else 'failed'}")
            if not busy or number:
                return
            time.sleep(1)  # the first worker stays until all is done: it takes over what another leaves


def work_side_by_side(cells, options):
    """options.jobs workers of this process. Raises what the first of them has raised."""
    started, raised = time.time(), []

    def worker(number):
        try:
            work(cells, options, number, started)
        except Exception as error:  # of a thread it would be printed and forgotten
            raised.append(error)
    threads = [threading.Thread(target=worker, args=(options.rank * options.jobs + k,), daemon=True)
               for k in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def finished_in_parts(cells, out):
    """[the finished cells of each part of `out` that has any]. Raises UserError for a method that one cell has twice."""
    found, place = [], {}
    for part in parts(out):
        theirs = [dataclasses.replace(cell, folder=part / cell.folder.name) for cell in cells]
        theirs = [cell for cell in theirs if cell.done]
        for cell in theirs:
            for method in cell.summary["methods"]:
                if place.setdefault((cell.folder.name, method), part) != part:
                    raise UserError(f"{cell.folder} and {place[cell.folder.name, method]} both have {method}; "
                                    "the parts of a table have methods of their own")
        found += [theirs] if theirs else []
    return found


def write_tables(cells, options, script):
    """table.md, table.tex, table.csv and the figures from what is finished; says what is missing."""
    by_part = finished_in_parts(cells, options.out)
    finished = [cell for theirs in by_part for cell in theirs]
    there = {cell.folder.name for cell in finished}
    missing = [cell.folder.name for cell in cells if cell.folder.name not in there]
    if missing:
        print(f"{len(missing)} of {len(cells)} cells are missing: {', '.join(missing[:8])}" + " ..." * (len(missing) > 8))
    if not finished:
        return
    rows = {cell.row: [] for cell in cells}  # in the table's order
    for cell in finished:
        rows[cell.row].append(cell)
    summaries = [(cell.row, cell.summary) for theirs in rows.values() for cell in theirs]
    table, published = tables.gather(summaries), tables.read_published(ROOT)
    choices = tables.gather_choices(summaries) if len(by_part) == 1 else {}  # each part has chosen among its own
    records = [[cell.config for cell in theirs if cell.config] for theirs in by_part]
    how = tables.provenance([(configs, command_of(configs, script)) for configs in records if configs])
    text = tables.markdown(table, choices, options.dataset, how, published)

    def write(name, draw, mode="wb", **how):
        replace_file(options.out / name, draw, mode, **how)
    write("table.md", lambda file: file.write(text), "w")
    write("table.tex", lambda file: file.write(tables.latex(table, options.dataset)), "w")
    write("table.csv", lambda file: tables.write_csv(file, table), "w", newline="")
    folders = {row: [cell.folder for cell in theirs] for row, theirs in rows.items() if theirs}
    tables.figures(write, table, folders, options.dataset)
    print(f"\n{text}\ntables and figures are in {options.out}")
    if options.record:
        recorded = [cell for cell in finished if cell.config]
        for cell in recorded:
            record = {CONFIG: cell.config | {"flags": without_places(cell.config["flags"], script)}, SUMMARY: cell.summary}
            folder = options.record / cell.folder.relative_to(options.out)
            folder.mkdir(parents=True, exist_ok=True)
            for name, value in record.items():
                replace_file(folder / name, lambda file, value=value: file.write(json.dumps(value, indent=2) + "\n"), "w")
        print(f"the {len(recorded)} runs' {CONFIG} and {SUMMARY} are in {options.record}")
        if len(recorded) < len(finished):
            print(f"{len(finished) - len(recorded)} runs have no {CONFIG}; nothing of them is recorded")
    for document in tables.fill(ROOT, options.out, table, choices, how, published):
        print(f"{document} has these tables now")


def without_places(flags, script):
    """A run's flags, {name: value}, in which a file or folder is its last name alone: where it lay is nobody's business, and
    may be elsewhere the next time."""
    places = {f.name for f in dataclasses.fields(script.read_options([])) if f.metadata["how"].get("metavar") in PLACES}
    return {name: Path(value).name if value and name in places else value for name, value in flags.items()}


def command_of(configs, script):
    """The command that makes the table again, by the records of its runs."""
    kind = type(script.read_options([]))
    known = {f.name for f in dataclasses.fields(kind)}
    runs = [kind(**without_places({name: value for name, value in config["flags"].items() if name in known}, script))
            for config in configs]
    rows = {name: sorted({run.row()[name] for run in runs}) for name in runs[0].row()}
    return runs[0].reproduce(script.PROTOCOL, seeds=len({run.seed for run in runs}), rows={
        name: ",".join(map(str, values)) for name, values in rows.items() if len(values) < len(ROWS[name])})


def list_cells(cells):
    """Each cell's state, and what it would take by the seconds of those that are done."""
    seconds = {cell: cell.summary["seconds"] for cell in cells if cell.done}
    mean = sum(seconds.values()) / len(seconds) if seconds else None
    guess = f"about {mean:.0f} s" if seconds else "time not measured yet"
    width = max(len(cell.folder.name) for cell in cells)
    for cell in cells:
        taken = f"{seconds[cell]:.0f} s" if cell in seconds else guess
        print(f"{cell.folder.name:{width}}  {cell.state():22} {taken}")
    left = len(cells) - len(seconds)
    if seconds and left:
        print(f"{left} cells to go, about {left * mean / 60:.1f} minutes one after another")


def last_line(file):
    """The last line of a text."""
    return (file.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing is known of it"])[-1]


def numbers(choices):
    """An argparse type: numbers with commas between them."""
    def read(text):
        words = text.split(",")
        if not set(words) <= set(map(str, choices)) or len(set(words)) < len(words):
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(map(str, choices))}, each once, not {text!r}")
        return list(map(int, words))
    return read


def parse(arguments):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("dataset", choices=SCRIPTS)
    parser.add_argument("--path", metavar="DIR", help="the script's --path")
    parser.add_argument("--device", help="the script's --device; by default each process has a GPU of its own")
    parser.add_argument("--seeds", type=whole(1, 10_000), help="0, 1, ... so many (default: 5; all that are there "
                        "with --tables-only)")
    parser.add_argument("--cases", type=numbers((1, 2, 3)), default=ROWS["cases"], help="(default: 1,2,3)")
    parser.add_argument("--expertise", type=numbers((0, 1)), default=ROWS["expertise"], help="(default: 1,0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="(default: runs/reproduce-<dataset>); with "
                        "--tables-only also a folder of such folders, each with other --methods, for one table")
    parser.add_argument("--jobs", type=whole(1, 1000), default=1, help="cells side by side in this process (default: 1)")
    parser.add_argument("--list", action="store_true", help="show the cells, their state and what they take")
    parser.add_argument("--tables-only", action="store_true", help="make the tables from what there is")
    parser.add_argument("--record", type=Path, metavar="DIR", help="copy each finished cell's config.json and summary.json "
                        "there, of which --tables-only --out DIR makes the tables")
    options, extra = parser.parse_known_args(arguments)
    if {word.split("=")[0] for word in extra} & {"--seed", "--case", "--fresh", "--crowd"}:
        raise UserError(f"{' '.join(extra)}: reproduce.py sets --seed, --case, --crowd and the folders itself; "
                        "give --seeds, --cases and --out")
    options.out = options.out or Path("runs") / f"reproduce-{options.dataset}"
    options.seeds = options.seeds or options.tables_only and seeds_in(options.out) or 5
    options.rank, beside = number_of("RANK"), number_of("LOCAL_WORLD_SIZE", "1") * options.jobs
    options.gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    # processes that share a CPU share its threads: two with two threads each slow one another
    options.threads = max(1, cores() // beside) if beside > 1 and not options.gpus else None
    return options, extra


def cores():
    """How many this process may use; macOS does not say, and has all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def main(arguments=None):
    options, extra = parse(arguments)
    script = load_script(options.dataset)
    cells = make_cells(options, extra, script)
    try:
        return launch_cells(cells, options, script, check=extra or not options.tables_only)
    except OSError as error:
        raise UserError(f"--out {options.out}: cannot be written to or read ({error.strerror or error})") from None


def launch_cells(cells, options, script, check):
    """The rest of main; raises OSError where a folder cannot be written to."""
    if check:
        refuse_others(cells, script)
    if options.list:
        list_cells(cells)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.tables_only:
        work_side_by_side(cells, options)
        if options.rank:
            return 0
    write_tables(cells, options, script)
    failed = [cell for cell in cells if cell.failed and not cell.done]
    for cell in failed:
        print(printable(f"{cell.folder.name} failed: {last_line(cell.folder / ERROR)}"), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    launch(main)
