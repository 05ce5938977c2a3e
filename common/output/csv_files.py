"""Tables as CSV files; missing values are empty cells."""
import pandas as pd

METRICS = ("epoch", "method", "loss", "test_accuracy", "test_auc", "seconds")


def write_rows(file, rows):
    """A row for each dictionary, with the columns of the first; those of metrics.csv where there are none."""
    pd.DataFrame(rows, columns=list(rows[0] if rows else METRICS)).to_csv(file, index=False)


def write_columns(file, columns):
    """A table {heading: values}."""
    pd.DataFrame(columns).to_csv(file, index=False)
