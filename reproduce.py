"""The papers' tables and figures: runs every cell (case, expertise, seed) through the scripts and gathers the results.

    python3 reproduce.py
    python3 reproduce.py digits --seeds 5
    python3 reproduce.py labelme --path labelme/prepared --seeds 10 --methods all kd-crowd-max-mig
    torchrun --nproc-per-node 4 reproduce.py cifar10 --path DATA --seeds 5 --out SHARED
    python3 reproduce.py claims --tables-only

Without a data set it says what there is. Finished cells are never run again and a killed one goes on at its last epoch.
Several processes, launches and machines may work in one folder: each cell is claimed by a lock that ends with the process
which works on it. Flags that are not listed here go to the script as they are. `claims` runs nothing: it fills the tables of
the papers' claims from results/.
"""
from common.system.errors import UserError, first_few, launch, printable, reader_may_leave  # first, for Control-C

# isort: split
import argparse
import os
import shutil
import sys
from pathlib import Path

import torch

from common.reproduce import claim_tables, claims, documents, files, numbers, overview, tables
from common.reproduce.cells import DATASETS, ERROR, ROOT, finished_in_parts, load_script, make_cells, refuse_others, seeds_in
from common.reproduce.grids import BEST
from common.reproduce.provenance import ROWS, command_of, provenance
from common.reproduce.workers import work_side_by_side
from common.reproduce.write_records import record
from common.system.files import replace_file
from common.system.processes import number_of
from common.training.options import Parser, whole

CLAIMS = "claims"


def write_tables(cells, options, script):
    """table.md, table.tex, table.csv and the figures from what is finished; says what is missing."""
    by_part = finished_in_parts(cells, options.out)
    finished = [cell for part in by_part for cell in part]
    there = {cell.folder.name for cell in finished}
    missing = [cell.folder.name for cell in cells if cell.folder.name not in there]
    if missing:
        print(f"{len(missing)} of {len(cells)} cells are missing: {first_few(missing)}")
    if not finished:
        return
    rows = {cell.row: [] for cell in cells}  # in the table's order
    for cell in finished:
        rows[cell.row].append(cell)
    summaries = [(cell.row, cell.summary) for cells_of_row in rows.values() for cell in cells_of_row]
    table, published = numbers.gather(summaries), tables.read_published(ROOT, options.out)
    choices = numbers.gather_choices(summaries) if len(by_part) == 1 else {}  # each part has chosen among its own
    records = [[cell.config for cell in part if cell.config] for part in by_part]
    commands = provenance([(configs, command_of(configs, script)) for configs in records if configs])
    grids = tables.sections(table, choices, published)

    def write(name, draw, mode="wb", **opening):
        replace_file(options.out / name, draw, mode, **opening)
    write("table.md", lambda file: file.write(tables.markdown(grids, options.dataset, commands)), "w")
    write("table.tex", lambda file: file.write(files.latex(table, options.dataset)), "w")
    write("table.csv", lambda file: files.write_csv(file, table), "w", newline="")
    folders = {row: [cell.folder for cell in part] for row, part in rows.items() if part}
    files.figures(write, table, folders, options.dataset)
    if options.record:
        record(finished, options.out, options.record, script)
    changed = documents.fill_tables(ROOT, options.out, table, choices, commands, published)
    with reader_may_leave():
        say(grids, commands)
        print(f"\ntables and figures are in {options.out}")
        say_changed(changed)


def say(grids, heading="", legend="the best of its row; true-label and the forecasters on test items are not compared"):
    """Prints tables in the width of the terminal; heading: what stands above them."""
    width = shutil.get_terminal_size().columns
    print(*[f"\n{heading}"] * bool(heading), sep="\n")
    for grid in grids:
        print("", *grid.terminal(width), sep="\n")
    if any(grid.best for grid in grids):
        print("", f"{BEST} {legend}", sep="\n")


def say_changed(documents):
    for document in documents:
        print(f"{document} has these tables now")


def write_claims():
    """Prints the tables of the papers' claims, and fills them in where README.md and docs/results/*.md have a place."""
    found = claims.judge(ROOT / "results")

    def text_of(document, name, parts):
        pages = "" if document.startswith("docs/results/") else "docs/results/"
        return claim_tables.text(found, parts, pages) if name == CLAIMS else None
    changed = documents.fill(ROOT, text_of)
    with reader_may_leave():
        say([claim_tables.summary(found), *claim_tables.comparisons(found)], legend="as the claim says")
        say_changed(changed)


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


def some_of(choices):
    """An argparse type: numbers with commas between them."""
    def read(text):
        words = text.split(",")
        if not set(words) <= set(map(str, choices)) or len(set(words)) < len(words):
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(map(str, choices))}, each once, not {text!r}")
        return list(map(int, words))
    return read


def parse(arguments):
    """(options, the script's own flags); options.dataset is None if the list of data sets is wanted."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("dataset", nargs="?", choices=[*DATASETS, CLAIMS], help="what to reproduce; claims: the papers' "
                        "claims, from results/; without one it says what there is")
    parser.add_argument("--path", metavar="DIR", help="the script's --path")
    parser.add_argument("--device", help="the script's --device; by default each process has a GPU of its own")
    parser.add_argument("--seeds", type=whole(1, 10_000), help="0, 1, ... so many (default: 5; all that are there "
                        "with --tables-only)")
    parser.add_argument("--cases", type=some_of((1, 2, 3)), default=ROWS["cases"], help="(default: 1,2,3)")
    parser.add_argument("--expertise", type=some_of((0, 1)), default=ROWS["expertise"], help="(default: 1,0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="(default: runs/reproduce-<dataset>); with "
                        "--tables-only also a folder of such folders, each with other --methods, for one table")
    parser.add_argument("--jobs", type=whole(1, 1000), default=1, help="cells side by side in this process (default: 1)")
    parser.add_argument("--list", action="store_true", help="show the cells, their state and what they take")
    parser.add_argument("--tables-only", action="store_true", help="make the tables from what there is")
    parser.add_argument("--record", type=Path, metavar="DIR", help="copy what is kept of each finished cell "
                        "there, of which --tables-only --out DIR makes the tables")
    options, extra = parser.parse_known_args(arguments)
    if options.dataset is None:
        if [word for word in arguments if word != "--list"]:
            parser.error(f"no data set; give one of {', '.join([*DATASETS, CLAIMS])} first")
        return options, extra
    if {word.split("=")[0] for word in extra} & {"--seed", "--case", "--fresh", "--crowd"}:
        raise UserError(f"{' '.join(extra)}: reproduce.py sets --seed, --case, --crowd and the folders itself; "
                        "give --seeds, --cases and --out")
    if options.dataset == CLAIMS and [word for word in arguments if word not in (CLAIMS, "--tables-only")]:
        raise UserError(f"claims {' '.join(arguments[1:])}: the claims' tables are made of results/; give no flags")
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
    arguments = sys.argv[1:] if arguments is None else arguments
    options, extra = parse(arguments)
    if options.dataset is None:
        with reader_may_leave():
            print(*overview.overview(ROOT), sep="\n")
        return 0
    if options.dataset == CLAIMS:
        write_claims()
        return 0
    script = load_script(options.dataset)
    cells = make_cells(options, extra, script)
    try:
        return launch_cells(cells, options, script, check=extra or not options.tables_only)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"--out {options.out}: cannot be written to or read ({error.strerror or error})") from None


def launch_cells(cells, options, script, check):
    """The rest of main; raises OSError where a folder cannot be written to."""
    if check:
        refuse_others(cells, script)
    if options.list:
        with reader_may_leave():
            list_cells(cells)
        return 0
    if options.tables_only:
        if not options.out.is_dir():
            raise UserError(f"--out {options.out}: no such folder; expected that of earlier runs")
    else:
        options.out.mkdir(parents=True, exist_ok=True)
        work_side_by_side(cells, options)
        if options.rank:
            return 0
    write_tables(cells, options, script)
    failed = {}  # the cells of each error: often all fail alike
    for cell in cells:
        if cell.failed and not cell.done:
            failed.setdefault(last_line(cell.folder / ERROR), []).append(cell.folder.name)
    for error, names in failed.items():
        print(printable(f"{first_few(names)} failed: {error}"), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    launch(main)
