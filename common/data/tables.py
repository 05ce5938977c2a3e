"""The tables that users write: CSV or TSV, gzipped or not, with a byte order mark, quotes, CRLF, spaces around names."""
import csv
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.data.opening import unpacked
from common.system.errors import UserError

SEPARATORS = "\t,;"
LONGEST = 1 << 26  # bytes of a header


@dataclass(frozen=True)
class Column:
    """A column of text: `codes` int (N,) into its distinct `values`, which are stripped of spaces."""
    codes: object
    values: list


@dataclass(frozen=True)
class Frame:
    """A table in memory instead of a file. It is called by its `name` in errors, and its first row is line 2."""
    table: pd.DataFrame
    name: str

    def __str__(self):
        return self.name

    def as_text(self):
        """The table with its cells as strings, nothing where there is no value; whole numbers have no decimals."""
        table = self.table.reset_index(drop=True)
        for place in range(table.shape[1]):
            values = table.iloc[:, place]
            if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
                values = values.astype("Int64")
            text = values.astype(object).where(values.notna(), "").map(str)
            table.isetitem(place, text)
        table.columns = header_of(self)
        return table


def first_bytes(file, count=1 << 16):
    """The beginning of a file's content, gzipped or not. Raises UserError where it cannot be read."""
    with unpacked(file) as content:
        return content.read(count)


def _dialect(file):
    """(header, keywords for pandas.read_csv) of a table: its columns' names, stripped, and how it is written."""
    start = first_bytes(file)
    if b"\n" not in start.lstrip(b"\r\n"):  # thousands of columns
        start = first_bytes(file, LONGEST)
    try:
        # a character may be cut in two at the end; the first line counts
        text = start[:start.rfind(b"\n") + 1 or len(start)].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8 text; expected a CSV or TSV table with a header, saved as UTF-8") from None
    line = text.lstrip("\r\n").splitlines()[0] if text.strip() else ""
    if not line:
        raise UserError(f"{file}: empty; expected a table with a header")
    blank = len(text) - len(text.lstrip("\r\n"))
    if blank:
        raise UserError(f"{file}, line 1: blank; expected the header")
    if line.startswith("sep="):
        raise UserError(f"{file}, line 1: {line[:9]!r}; expected the header: this line is for Excel alone")
    separator = max(SEPARATORS, key=line.count)
    try:
        header = [name.strip() for name in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
    except csv.Error as error:
        raise UserError(f"{file}, line 1: not a header ({error}); expected the columns' names") from None
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise UserError(f"{file}, line 1: two columns are named {twice[0]!r}; expected a name for each")
    return header, {"sep": separator, "names": header, "header": 0, "encoding": "utf-8-sig",
                    "skipinitialspace": True, "skip_blank_lines": False}


def _parse(file, how):
    try:
        with unpacked(file) as content:
            frame = pd.read_csv(content, **how)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise UserError(f"{file}: not a table ({reason}); expected as many cells in each row as in the header") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8 text; expected a CSV or TSV table, saved as UTF-8") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what is too much as the rows' names
        raise UserError(f"{file}, line 2: more cells than the header's {len(how['names'])}; expected as many")
    return frame


def header_of(file):
    """The columns' names."""
    return [str(name).strip() for name in file.table.columns] if isinstance(file, Frame) else _dialect(file)[0]


def read_columns(file, names=None):
    """({name: Column}, lines): these columns of a table, all by default, blank lines left out; lines: int (N,), the line
    of the file that each row is on."""
    if isinstance(file, Frame):
        header, frame = header_of(file), file.as_text()
    else:
        header, how = _dialect(file)
        frame = _parse(file, how | {"dtype": object, "na_filter": False, "low_memory": False})
    # as objects equal cells are one string: ten million answers never exist as ten million strings. As categories they
    # are parsed too, and 007 becomes 7
    lines = frame.index.to_numpy() + 2
    columns = {name: _strip(frame[name]) for name in names or header}
    blank = np.logical_and.reduce([_is_empty(column) for column in columns.values()])
    if blank.any():
        columns = {name: _take(column, ~blank) for name, column in columns.items()}
        lines = lines[~blank]
    return columns, lines


def _take(column, rows):
    """These rows of a column, and the values that they have."""
    codes, used = pd.factorize(column.codes[rows])
    return Column(codes, [column.values[code] for code in used])


def _is_empty(column):
    return column.codes == (column.values.index("") if "" in column.values else -2)


def _strip(series):
    """A series of strings as a Column; values that differ by the spaces around them are one."""
    cells, written = pd.factorize(series)
    codes, values = pd.factorize(pd.Index([value.strip() for value in written], dtype=object))
    return Column(codes[cells], list(values))


def read_numbers(file, name, without=()):
    """(names, numbers, columns): the id column `name` as strings, and all others but those `without` as float64 (N, F) with
    their names.

    Raises UserError for a cell that is not a number; NaN stays where a cell is empty.
    """
    header, how = _dialect(file)
    frame = _parse(file, how | {"dtype": {name: str}, "na_values": ["nan", "NaN"], "keep_default_na": False})
    empty = [column for column in frame if column == "" and frame[column].replace("", None).isna().all()]
    numbers = frame.drop(columns=[name, *without, *empty])
    for column in numbers.columns:
        if not pd.api.types.is_numeric_dtype(numbers[column]) or numbers[column].dtype == bool:
            values = pd.to_numeric(numbers[column].replace("", None), errors="coerce")
            bad = (values.isna() & numbers[column].notna() & (numbers[column] != "")).to_numpy().nonzero()[0]
            if len(bad):
                raise UserError(f"{file}, line {bad[0] + 2}: {numbers[column].iloc[bad[0]]!r} in column {column!r}; "
                                "expected a number")
            numbers[column] = values
    names, values = frame[name].fillna("").str.strip(), numbers.to_numpy("float64")
    there = (names != "").to_numpy() | ~np.isnan(values).all(1)  # else a blank line
    return names[there].tolist(), values[there], list(numbers.columns)
