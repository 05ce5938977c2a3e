"""results/: what is kept of finished runs, of which their tables can be made again."""
import json

from common.output import csv_files
from common.output.files import CONFIG, SUMMARY
from common.reproduce.files import read_rows
from common.reproduce.provenance import without_places
from common.system.files import replace_file

MEMORIZATION, MEMORIZED = "memorization.csv", "memorized.csv"  # of a run; of its record


def record(cells, out, results, script):
    """Copies each finished cell in the folder `out` to `results`: its config.json, without places in the file system, its
    summary.json, and of its memorization.csv the last epoch of each stage. Says how many have been copied."""
    recorded = [cell for cell in cells if cell.config]
    for cell in recorded:
        files = {CONFIG: cell.config | {"flags": without_places(cell.config["flags"], script)}, SUMMARY: cell.summary}
        folder = results / cell.folder.relative_to(out)
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            replace_file(folder / name, lambda file, value=value: file.write(json.dumps(value, indent=2) + "\n"), "w")
        shares = last_memorized(cell.folder / MEMORIZATION)
        if shares:
            replace_file(folder / MEMORIZED, lambda file, shares=shares: csv_files.write_rows(file, shares), "w", newline="")
    print(f"the {len(recorded)} runs' {CONFIG} and {SUMMARY} are in {results}")
    if len(recorded) < len(cells):
        print(f"{len(cells) - len(recorded)} runs have no {CONFIG}; nothing of them is recorded")


def last_memorized(path):
    """The rows of a memorization.csv that are of a method's last epoch in a stage; [] where there is no such file."""
    rows = read_rows(path) if path.exists() else []
    return list({(row["method"], row["stage"]): row for row in rows}.values())
