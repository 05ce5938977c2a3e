"""Tables as CSV files."""
import csv

import numpy as np

METRICS = ("epoch", "method", "loss", "test_accuracy", "test_auc", "seconds")


def write_rows(file, rows):
    """Dictionaries as csv, with the columns of the first; those of metrics.csv where there are none."""
    writer = csv.DictWriter(file, rows[0] if rows else METRICS)
    writer.writeheader()
    writer.writerows(rows)


def write_annotator_error(file, names, errors):
    """A row for each annotator, a column for each method. errors: {method: (M,)}."""
    writer = csv.writer(file)
    writer.writerow(["annotator", *errors])
    for name, *row in zip(names, *(error.tolist() for error in errors.values()), strict=True):
        writer.writerow([name, *("" if value != value else value for value in row)])


def write_columns(file, columns):
    """A table {heading: values} as csv; a NaN is an empty cell."""
    writer = csv.writer(file)
    writer.writerow(columns)
    for row in zip(*(column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values()),
                   strict=True):
        writer.writerow(["" if value != value else value for value in row])  # NaN is not equal to itself
