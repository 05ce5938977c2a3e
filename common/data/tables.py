"""The tables that users write: separated by commas, tabs, semicolons, bars or spaces; in UTF-8 or UTF-16; gzipped, zipped or
not; with a byte order mark, quotes, CRLF, spaces around names. Excel's and Parquet's files by common/data/workbooks.py."""
import codecs
import contextlib
import csv
import io
import os
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd

from common.data import workbooks
from common.data.columns import is_empty, joined, normal, strip, take
from common.data.opening import MB, unpacked
from common.system.errors import UserError

SEPARATORS = "\t,;|"
SPACES = r"\s+"  # where there is no other separator
UNNAMED = "Unnamed: 0", "(column 1)"  # the first column without a name, as pandas calls it, or else: the rows' numbers
LONGEST = 1 << 26  # bytes of a header
# as objects equal cells are one string: ten million answers never exist as ten million strings. As categories they are
# parsed too, and 007 becomes 7
TEXT = {"dtype": object, "na_filter": False, "low_memory": False}


@dataclass(frozen=True)
class Frame:
    """A table in memory instead of a file. It is called by its `name` in errors. Its first row is line 2, if the rows'
    `numbers` are not given; `unit` says what they number. `layout` says which tool wrote it, if that is known."""
    table: pd.DataFrame
    name: str
    numbers: np.ndarray | None = None
    unit: str | None = "line"
    layout: str = ""

    def __str__(self):
        return self.name

    def as_text(self):
        """The table with its cells as strings, nothing where there is no value; whole numbers have no decimals."""
        table = workbooks.as_text(self.table)
        table.columns = header_of(self)
        return table


@contextlib.contextmanager
def content_of(file):
    """The bytes of a table, opened in a `with`: unpacked, and as CSV where they are Excel's or Parquet's."""
    with unpacked(file) as content:
        if workbooks.is_one(content.peek(8)[:8]):
            status = os.stat(file)
            yield io.BytesIO(_csv_of(str(file), status.st_size, status.st_mtime_ns))
        else:
            yield content


@lru_cache(maxsize=4)
def _csv_of(file, *_):
    """The bytes of a workbook or a Parquet table as CSV. Size and time of the file tell a changed one."""
    with unpacked(file) as content:
        return workbooks.as_csv(content, content.peek(8)[:8], file)


def first_bytes(file):
    """The beginning of a file's content, unpacked. Raises UserError where it cannot be read."""
    with unpacked(file) as content:
        return content.read(1 << 16)


def encoding_of(start):
    """The encoding of text that begins with these bytes: UTF-16 by its mark or by its zero bytes, else UTF-8."""
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    zero = [start[:1] == b"\0", start[1:2] == b"\0"]
    return "utf-16-be" if zero == [True, False] else "utf-16-le" if zero == [False, True] else "utf-8-sig"


def _dialect(file):
    """(header, keywords for pandas.read_csv) of a table: its columns' names, stripped, and how it is written."""
    cells, text, dialect = _first_line(file)
    header = [normal(" ".join(name.splitlines())) for name in cells]
    named = max((k + 1 for k, name in enumerate(header) if name), default=0)
    more = dialect["sep"] * (len(header) - named)
    if len(more) > 1 and all(row.rstrip(" ").endswith(more) for row in text.rpartition("\n")[0].splitlines() if row.strip()):
        dialect["usecols"], header = range(named), header[:named]  # without the empty columns that Excel writes at the end
    header = _named(header)
    _check_header(file, header)
    return header, dialect | {"names": header, "header": 0}


def _named(header):
    """The columns' names, with one for those that have none."""
    first = UNNAMED[UNNAMED[0] in header]
    return [name or (f"(column {k + 1})" if k else first) for k, name in enumerate(header)]


def is_unnamed(name):
    """Whether _named has called a column so, other than the first one."""
    return re.fullmatch(r"\(column \d+\)", name) is not None


def without_header(file):
    """The Frame of a table whose first line is an answer; its columns are called 1, 2, and so on."""
    if isinstance(file, Frame):
        raise UserError(f"--no-header: {file} is a DataFrame, whose columns have names")
    if workbooks.is_one(first_bytes(file)):
        raise UserError(f"--no-header: {file} is no text; give its columns names, or save it as CSV")
    cells, text, dialect = _first_line(file)
    if re.match(r'\{\s*"|\[\s*[\[{"]', text):
        raise UserError(f"--no-header: {file} is JSON, which has no columns")
    frame = _parse(file, dialect | TEXT | {"names": [str(k + 1) for k in range(len(cells))], "header": None})
    return Frame(frame, str(file), frame.index.to_numpy() + 1)


def _first_line(file):
    """(cells, text, keywords for pandas.read_csv): a table's first line, and how it is written; text: its beginning."""
    with content_of(file) as content:
        start = content.read(1 << 16)
        encoding = encoding_of(start)
        if b"\n" not in start.lstrip(b"\r\n"):  # thousands of columns
            start += content.read(LONGEST)
    try:  # a character may be cut in two at the end; the first line counts
        text = codecs.getincrementaldecoder(encoding)().decode(start).lstrip("\ufeff")
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8 text; expected a CSV or TSV table with a header, saved as UTF-8") from None
    lines = text.lstrip("\r\n").splitlines()[:2] if text.strip() else []
    if not lines:
        raise UserError(f"{file}: empty; expected a table with a header")
    if text[0] in "\r\n":
        raise UserError(f"{file}, line 1: blank; expected the header")
    line = lines[0]
    if re.match(r"\s*<(\?xml|!doctype|html)", line, re.IGNORECASE):
        raise UserError(f"{file}: XML or HTML, which is not read; expected a table of task,worker,label")
    if line.startswith("sep="):
        raise UserError(f"{file}, line 1: {line[:9]!r}; expected the header: this line is for Excel alone")
    separator = _separator(lines)
    try:  # a name in quotes may have several lines
        cells = next(csv.reader([line.strip()] if separator == SPACES else text.lstrip("\r\n").splitlines(keepends=True),
                                delimiter=" " if separator == SPACES else separator, skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f"{file}, line 1: not a header ({error}); expected the columns' names") from None
    return cells, text, {"sep": separator, "encoding": encoding, "skipinitialspace": True, "skip_blank_lines": False}


def _separator(lines):
    """What separates the cells of the first lines of a table: the most frequent of SEPARATORS in the header, of those that
    the second line has as often if there are any; spaces where there are none and the second line has as many words."""
    bare = [re.sub(r'"[^"]*("|$)', "", line) for line in lines]  # without what is in quotes
    separator = max(SEPARATORS, key=lambda each: (bare[0].count(each) == bare[-1].count(each) > 0, bare[0].count(each)))
    words = [len(line.split()) for line in lines]
    return SPACES if separator not in lines[0] and words[0] > 1 and len(set(words)) == 1 else separator


def _check_header(file, header):
    """Raises UserError for a first line that cannot be the columns' names."""
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        numbers = all(re.fullmatch(r"-?[\d.]+", name) for name in header)
        raise UserError(f"{file}, line 1: two columns are named {twice[0]!r}; expected "
                        + ("a header: a first line of names, as task,worker,label, or --no-header" if numbers
                           else "a name for each, or --no-header if the first line is an answer"))


def _parse(file, dialect):
    try:
        with content_of(file) as content:
            frame = pd.read_csv(content, **dialect)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise UserError(f"{file}: not a table ({reason}); expected as many cells in each row as in the header") from None
    except UnicodeError:
        raise UserError(f"{file}: not UTF-8 text; expected a CSV or TSV table, saved as UTF-8") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what is too much as the rows' names
        raise UserError(f"{file}, line 2: more cells than the header's {len(dialect['names'])}; expected as many")
    return frame


def unit_of(file):
    """What the rows of a file or a Frame are numbered as."""
    return isinstance(file, Frame) and file.unit or "line"


def header_of(file):
    """The columns' names."""
    return _named([normal(str(name)) for name in file.table.columns]) if isinstance(file, Frame) else _dialect(file)[0]


def columns_of(name, header):
    """The columns that a user's name for one means: itself or, as `A+B`, several whose values together are one; None where
    the table does not have them."""
    parts = [normal(name)] if normal(name) in header else [normal(part) for part in name.split("+")]
    return parts if set(parts) <= set(header) else None


def read_columns(file, names=None):
    """({name: Column}, lines): these columns of a table, all by default, see columns_of; blank lines are left out. lines:
    int (N,), the line of the file that each row is on."""
    if isinstance(file, Frame):
        header, frame = header_of(file), file.as_text()
        lines = np.arange(len(frame)) + 2 if file.numbers is None else file.numbers
    else:
        header, dialect = _dialect(file)
        frame = _parse(file, dialect | TEXT)
        lines = _lines_of(file, len(frame), dialect)
    columns = {name: joined([strip(frame[part]) for part in columns_of(name, header)]) for name in names or header}
    blank = np.logical_and.reduce([is_empty(column) for column in columns.values()])
    if blank.any():
        columns = {name: take(column, ~blank) for name, column in columns.items()}
        lines = lines[~blank]
    return columns, lines


def _lines_of(file, rows, dialect):
    """int (rows,): the line of a table's file on which each row begins. A cell in quotes may have several lines; a row of a
    workbook counts as one."""
    lines = np.arange(rows) + 2
    with content_of(file) as content:
        if isinstance(content, io.BytesIO) or dialect["sep"] == SPACES:
            return lines
        breaks = sum(block.count(b"\n") for block in iter(partial(content.read, MB), b""))
    if breaks - rows in (0, 1):
        return lines
    with content_of(file) as content, io.TextIOWrapper(content, dialect["encoding"], newline="") as text:
        found = csv.reader(text, delimiter=dialect["sep"], skipinitialspace=True)
        try:
            ends = np.array([found.line_num for _ in found])
        except csv.Error:  # a cell of more than 131,072 characters
            return lines
    return ends[:-1] + 1 if len(ends) == rows + 1 else lines


def read_numbers(file, name, without=()):
    """(names, numbers, columns): the id column `name` as strings, and all others but those `without` as float64 (N, F) with
    their names.

    Raises UserError for a cell that is not a number; NaN stays where a cell is empty.
    """
    header, dialect = _dialect(file)
    missing = {column: ["nan", "NaN"] for column in header if column != name}
    frame = _parse(file, dialect | {"dtype": {name: str}, "na_values": missing, "keep_default_na": False})
    empty = [column for column in frame if is_unnamed(column) and frame[column].replace("", None).isna().all()]
    numbers = frame.drop(columns=[name, *without, *empty])
    for column in numbers.columns:
        if not pd.api.types.is_numeric_dtype(numbers[column]) or numbers[column].dtype == bool:
            values = pd.to_numeric(numbers[column].replace("", None), errors="coerce")
            bad = (values.isna() & numbers[column].notna() & (numbers[column] != "")).to_numpy().nonzero()[0]
            if len(bad):
                cell = str(numbers[column].iloc[bad[0]])
                comma = ", with a point for the decimals, not a comma" if re.fullmatch(r"\s*[+-]?\d+,\d+\s*", cell) else ""
                raise UserError(f"{file}, line {bad[0] + 2}: {cell!r} in column {column!r}; expected a number{comma}")
            numbers[column] = values
    names, values = frame[name].fillna("").map(normal), numbers.to_numpy("float64")
    there = (names != "").to_numpy() | ~np.isnan(values).all(1)  # else a blank line
    return names[there].tolist(), values[there], list(numbers.columns)
