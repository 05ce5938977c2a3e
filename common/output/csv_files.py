"""Tables as CSV files; missing values are empty cells."""
import pandas as pd

from common.system.errors import echo, first_few

METRICS = ("epoch", "method", "loss", "test_accuracy", "test_auc", "seconds")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet takes for a formula


def write_rows(file, rows):
    """A row for each dictionary, with the columns of the first; those of metrics.csv where there are none."""
    pd.DataFrame(rows, columns=list(rows[0] if rows else METRICS)).to_csv(file, index=False)


def write_columns(file, columns):
    """A table {heading: values}."""
    pd.DataFrame(columns).to_csv(file, index=False)


def notice_formulas(*names):
    """Prints a notice if any of these names (iterables of text or numbers) would be a formula in a spreadsheet.

    The names stay as they are: they must match those of the answers.
    """
    formulas = [name for some in names for name in map(str, some) if name.startswith(FORMULA) and not _is_number(name)]
    if formulas:
        echo(f"notice: {len(formulas)} names begin with = + - or @ ({first_few(formulas)}): a spreadsheet may run them as "
             "formulas; import the columns of the CSV files as text")


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
