"""The papers' tables and figures: runs every cell (case, expertise, seed) through the scripts and gathers the results.

    python3 reproduce.py digits --seeds 5
    python3 reproduce.py labelme --path labelme/prepared --seeds 10 --methods all kd-crowd-max-mig
    torchrun --nproc-per-node 4 reproduce.py cifar10 --path DATA --seeds 5 --out SHARED

Finished cells are never run again and a killed one goes on at its last epoch. Several processes, launches and machines
may work in one folder: each cell is claimed by a lock that ends with the process which works on it. Flags that are not
listed here go to the script as they are.
"""
import argparse
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

from common.errors import UserError, launch
from common.files import claim, holder, replace_file
from common.output import tables
from common.training.options import Parser, whole

ROOT = Path(__file__).resolve().parent
SCRIPTS = {"labelme": "labelme/cotraining_labelme.py", "digits": "Digits/main.py", "luna16": "LUNA16/main.py",
           "dogs-vs-cats": "DogsVsCats/main.py", "cifar10": "Cifar10/main.py", "cifar10h": "Cifar10/main.py",
           "cifar10n": "Cifar10/main.py"}
PEOPLE = ("cifar10h", "cifar10n")  # crowds of CIFAR-10 other than the synthesized ones
WITHOUT_CASES = ("labelme", *PEOPLE)  # their crowds are real
ERROR = "error.txt"


@dataclass(frozen=True)
class Cell:
    """One run: its row in the table, its folder, the script's arguments."""
    row: str
    folder: Path
    arguments: tuple

    @property
    def done(self):
        return (self.folder / "summary.json").exists()

    @property
    def summary(self):
        """What a finished run left in summary.json."""
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def failed(self):
        return (self.folder / ERROR).exists()

    def state(self):
        """done, running, failed, stopped after an epoch, or not begun."""
        if self.done:
            return "done"
        if holder(self.folder):
            return "running"
        if self.failed:
            return "failed"
        metrics = self.folder / "metrics.csv"
        if metrics.exists():
            return f"stopped after epoch {metrics.read_text().splitlines()[-1].split(',')[0]}"
        return "not begun"


def make_cells(options, extra):
    """All cells, seed by seed, so that every row has its first numbers early."""
    cells, base = [], ["--path", options.path] if options.path else []
    if options.dataset in PEOPLE:
        base += ["--crowd", options.dataset]
    kinds = [(case, expertise) for case in options.cases for expertise in options.expertise]
    for seed in range(options.seeds):
        for case, expertise in [(None, None)] if options.dataset in WITHOUT_CASES else kinds:
            row, place = options.dataset, []
            if case:
                row = f"case {case}, {'high' if expertise else 'low'}"
                place = ["--case", str(case), "--expertise", str(expertise)]
            folder = options.out / f"{tables.slug(row)}-seed{seed}"
            cells.append(Cell(row, folder, (*base, *place, "--seed", str(seed), *extra, "--out", str(folder))))
    return cells


def run_cell(cell, claimed, options, show):
    """Runs the script, to which the claim on the cell's folder is passed on; show(text) is called with each line it prints.
    Leaves error.txt if it fails."""
    passed_on = claimed.to_child()
    environment = passed_on["env"] | ({"OMP_NUM_THREADS": str(options.threads)} if options.threads else {})
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):  # of this launch, not of the script's
        environment.pop(name, None)
    process = subprocess.Popen([sys.executable, str(ROOT / SCRIPTS[options.dataset]), *cell.arguments,
                                *(["--device", options.device] if options.device else [])],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                               pass_fds=passed_on["pass_fds"])
    errors = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    for line in process.stdout:
        if line.strip():
            show(f"{cell.folder.name}: {line.strip()[:100]}")
    reader.join()
    error = cell.folder / ERROR
    if process.wait():
        error.write_text("".join(errors[-30:]) or f"exit status {process.returncode}\n")
    else:
        error.unlink(missing_ok=True)


def work(cells, options, position, rank):
    """Takes one cell after another that is neither done, nor claimed, nor failed in this launch."""
    tried = set()
    # each worker begins at another place, so that they seldom ask for the same cell
    order = cells[rank % len(cells):] + cells[:rank % len(cells)]
    with tqdm(total=0, position=position, bar_format="{desc}", leave=False, disable=None) as line:
        while True:
            busy = False
            for cell in order:
                if cell.done or cell in tried:
                    continue
                claimed = claim(cell.folder)
                if claimed is None:
                    busy = True
                    continue
                with claimed:
                    if not cell.done:
                        tried.add(cell)
                        run_cell(cell, claimed, options, line.set_description_str)
                        tqdm.write(f"{cell.folder.name}: {'done' if cell.done else 'failed'}")
            if not busy or rank:
                return
            time.sleep(1)  # the first worker stays until all is done: it takes over what another leaves


def write_tables(cells, options):
    """table.md, table.tex, table.csv and the figures from what is finished; says what is missing."""
    finished = [cell for cell in cells if cell.done]
    missing = [cell.folder.name for cell in cells if cell not in finished]
    if missing:
        print(f"{len(missing)} of {len(cells)} cells are missing: {', '.join(missing[:8])}" + " ..." * (len(missing) > 8))
    if not finished:
        return
    rows = {cell.row: [] for cell in cells}  # in the table's order
    for cell in finished:
        rows[cell.row].append(cell)
    table = tables.gather([(row, cell.summary) for row, theirs in rows.items() for cell in theirs])
    text = tables.markdown(table, options.dataset)

    def write(name, draw, mode="wb", **how):
        replace_file(options.out / name, draw, mode, **how)
    write("table.md", lambda file: file.write(text), "w")
    write("table.tex", lambda file: file.write(tables.latex(table, options.dataset)), "w")
    write("table.csv", lambda file: tables.write_csv(file, table), "w", newline="")
    folders = {row: [cell.folder for cell in theirs] for row, theirs in rows.items() if theirs}
    tables.figures(write, table, folders, options.dataset)
    print(f"\n{text}\ntables and figures are in {options.out}")


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


def numbers(choices):
    """An argparse type: numbers with commas between them."""
    def read(text):
        if not all(word.isdigit() and int(word) in choices for word in text.split(",")):
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(map(str, choices))}, not {text!r}")
        return [int(word) for word in text.split(",")]
    return read


def parse(arguments):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("dataset", choices=SCRIPTS)
    parser.add_argument("--path", metavar="DIR", help="the script's --path")
    parser.add_argument("--device", help="the script's --device; by default each process has a GPU of its own")
    parser.add_argument("--seeds", type=whole(1), default=5, help="0, 1, ... so many (default: 5)")
    parser.add_argument("--cases", type=numbers((1, 2, 3)), default=[1, 2, 3], help="(default: 1,2,3)")
    parser.add_argument("--expertise", type=numbers((0, 1)), default=[1, 0], help="(default: 1,0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="(default: runs/reproduce-<dataset>)")
    parser.add_argument("--jobs", type=whole(1), default=1, help="cells side by side in this process (default: 1)")
    parser.add_argument("--list", action="store_true", help="show the cells, their state and what they take")
    parser.add_argument("--tables-only", action="store_true", help="make the tables from what there is")
    options, extra = parser.parse_known_args(arguments)
    if {"--out", "--seed", "--case", "--fresh"} & set(extra):
        raise UserError(f"{' '.join(extra)}: reproduce.py sets --seed, --case and the folders itself; "
                        "give --seeds, --cases and --out")
    options.out = options.out or Path("runs") / f"reproduce-{options.dataset}"
    options.rank, local = int(os.environ.get("RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) * options.jobs
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if options.device is None and gpus:
        options.device = str(local % gpus)
    # processes that share a CPU share its threads: two with two threads each slow one another
    options.threads = max(1, len(os.sched_getaffinity(0)) // beside) if beside > 1 and not gpus else None
    return options, extra


def main(arguments=None):
    options, extra = parse(arguments)
    cells = make_cells(options, extra)
    if options.list:
        list_cells(cells)
        return 0
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {options.out}: cannot be written to ({error.strerror})") from None
    if not options.tables_only:
        workers = [threading.Thread(target=work, args=(cells, options, k, options.rank * options.jobs + k), daemon=True)
                   for k in range(options.jobs)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if options.rank:
            return 0
    write_tables(cells, options)
    failed = [cell for cell in cells if cell.failed and not cell.done]
    for cell in failed:
        print(f"{cell.folder.name} failed: {(cell.folder / ERROR).read_text().strip().splitlines()[-1]}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    launch(main)
