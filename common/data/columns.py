"""Columns of text: the cells of a table as numbers of their distinct values."""
import unicodedata
from dataclasses import dataclass

import pandas as pd

JOINT = " + "  # between the values of columns that are one


@dataclass(frozen=True)
class Column:
    """A column of text: `codes` int (N,) into its distinct `values`, which are stripped of spaces."""
    codes: object
    values: list


def normal(name):
    """The name without the spaces around it, in Unicode's composed form (NFC), so that names that print alike are equal."""
    name = name.strip()
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def take(column, rows):
    """These rows of a column, and the values that they have."""
    codes, used = pd.factorize(column.codes[rows])
    return Column(codes, [column.values[code] for code in used])


def is_empty(column):
    """bool (N,): which cells have nothing."""
    return column.codes == (column.values.index("") if "" in column.values else -2)


def strip(series):
    """A series of strings as a Column; values that differ by the spaces around them, or by their Unicode form, are one."""
    cells, written = pd.factorize(series)
    names = [normal(value) for value in written]
    return Column(cells, names) if len(set(names)) == len(names) else rename(Column(cells, written), names)


def joined(columns):
    """The Column of several, whose values are `a + b`; nothing where one has nothing."""
    if len(columns) == 1:
        return columns[0]
    codes, cells = pd.MultiIndex.from_arrays([column.codes for column in columns]).factorize()
    values = [[column.values[code] for column, code in zip(columns, cell, strict=True)] for cell in cells]
    return rename(Column(codes, values), [JOINT.join(value) if all(value) else "" for value in values])


def rename(column, names):
    """The Column with these names for its values; values of one name are one."""
    codes, values = pd.factorize(pd.Index(names, dtype=object))
    return Column(codes[column.codes], list(values))
