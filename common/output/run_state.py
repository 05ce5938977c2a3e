"""What a checkpoint holds: the kinds of its values, and which stages and epochs a run can have come to."""
from common.names import STAGES, TEACHERS

STATE = {"stage": int, "epoch": int, "rows": list, "memorization": list, "seconds": float, "peak_memory_mb": float,
         "learners": dict}
ROW = {"epoch": int, "method": str, "loss": float | None, "test_accuracy": float | None, "test_auc": float | None,
       "seconds": float | None}  # of metrics.csv; each further column holds numbers
MEMORIZATION = {"method": str, "stage": int, "epoch": int, "mean": float, "deviation": float}  # a row of memorization.csv


def is_state(state):
    """Whether what was read from a checkpoint has everything that a state has, of the right kinds."""
    return (_has(state, STATE) and all(_has(row, ROW) and _has_numbers(row) for row in state["rows"])
            and all(_has(row, MEMORIZATION) for row in state["memorization"]))


def can_be_of(state, flags):
    """Whether a run with these flags can have come to the state's stage and epoch, and to those of its rows."""
    last_stage = STAGES - 1 if any(name in TEACHERS for name in flags["methods"]) else 0
    rows = state["rows"] + state["memorization"]
    return (0 <= state["stage"] <= last_stage and 0 <= state["epoch"] <= flags["epochs"]
            and all(0 <= row.get("stage", 0) <= state["stage"] and 1 <= row["epoch"] <= flags["epochs"] for row in rows))


def _has(record, kinds):
    """Whether a dictionary has all these keys, with values of these kinds. A bool is no number here."""
    return isinstance(record, dict) and all(
        name in record and isinstance(record[name], kind) and not isinstance(record[name], bool)
        for name, kind in kinds.items())


def _has_numbers(row):
    """Whether the columns of a row of metrics.csv that are not in ROW have names and hold numbers."""
    return all(isinstance(name, str) and isinstance(value, int | float) for name, value in row.items() if name not in ROW)
