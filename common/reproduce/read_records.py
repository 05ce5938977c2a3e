"""The runs in results/: their flags and their numbers, also of those that were stopped."""
import math
from dataclasses import dataclass

from common.names import FORECASTER, STAGES, TEACHERS
from common.output.records import read_config, read_summary
from common.reproduce.cells import parts, row_name
from common.reproduce.files import read_rows
from common.reproduce.write_records import MEMORIZED, last_memorized
from common.system.errors import UserError


@dataclass(frozen=True)
class Run:
    """A record: its folder, its row, its flags, the number of test items, {method: {measure: value}}, and for a stopped run
    how far it came."""
    folder: object
    row: str
    flags: dict
    items: int | None
    values: dict
    stopped: str

    @property
    def seed(self):
        return self.flags["seed"]


def read_runs(folder):
    """[Run] of the records in a folder of results/, or in its parts."""
    found = []
    for path in (path for part in parts(folder) for path in sorted(part.glob("*-seed*"))):
        config, summary = read_config(path), read_summary(path)
        if config and (summary or (path / "metrics.csv").exists()):
            flags = config["flags"] | config["run"]
            values, stopped = (_of_summary(summary), "") if summary else _of_metrics(path, flags)
            for name, share in _memorized(path).items():
                values.setdefault(name, {})["memorized"] = share
            row = row_name(flags["case"], flags["expertise"]) if flags.get("case") and _is_synthesized(flags) else ""
            found.append(Run(path, row, flags, (config.get("data") or {}).get("test"), values, stopped))
    return found


def _is_synthesized(flags):
    return flags.get("crowd") in (None, "synthesized")


def _of_summary(summary):
    return {name: {"last_accuracy": (method["last"] or {}).get("test_accuracy"),
                   "selected_accuracy": (method.get("selected") or {}).get("test_accuracy"),
                   "annotator_error": method.get("annotator_error")} for name, method in summary["methods"].items()}


def _of_metrics(path, flags):
    """The last epoch that each method has in its final stage, of a stopped run, and how far the run came."""
    rows = read_rows(path / "metrics.csv")
    values = {row["method"]: {"last_accuracy": float(row["test_accuracy"])} for row in rows
              if row["test_accuracy"] and _is_final(row)}
    last = rows[-1]
    stage = f", stage {last['stage']}" if last.get("stage") else ""
    return values, f"{last['epoch']} of {flags['epochs']} epochs{stage}"


def _is_final(row):
    """Whether a row of metrics.csv or memorization.csv is of the last stage of its method, or of its forecaster."""
    method = row["method"].removesuffix(FORECASTER)
    return int(row.get("stage") or 0) == (STAGES - 1 if method in TEACHERS else 0)


def _memorized(path):
    """{method: mean share of the annotators' errors that it repeats at its last epoch}."""
    return {row["method"]: float(row["mean"]) for row in last_memorized(path / MEMORIZED) if _is_final(row)}


def of_corrected_kd_crowd(run):
    """Whether a run's KD-Crowd has the class shares of the teacher, and --lambda-u, of 29 November 2026."""
    return "lambda_u" in run.flags


def series(runs, measure):
    """Yields (row, {method: {seed: value}}, number of test items) for each row that has the measure, in order; of real
    annotators the row is "". Raises UserError where two runs have a method of one row and seed."""
    rows = {}
    for run in runs:
        values, _ = rows.setdefault(run.row, ({}, run.items))
        for method, numbers in run.values.items():
            value = numbers.get(measure)
            if value is not None and math.isfinite(value):
                if run.seed in values.setdefault(method, {}):
                    raise UserError(f"{run.folder}: {method} of seed {run.seed} is recorded twice for one claim; expected "
                                    "each once among the claim's folders")
                values[method][run.seed] = value
    for name, (values, items) in sorted(rows.items()):
        if values:
            yield name, values, items
