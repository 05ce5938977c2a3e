"""Excel's workbooks and Parquet's tables, read by pandas where its reader is installed, as CSV text."""
import io

import pandas as pd

from common.data.opening import MB, UNPACKED, ZIP, zip_total
from common.system.errors import UserError, echo

OLD_EXCEL, PARQUET = b"\xd0\xcf\x11\xe0", b"PAR1"
LARGEST = 256 * MB  # bytes of such a file
EXACT = 2 ** 53  # up to here a float is each whole number
CELLS = 200_000_000  # of a table, which a small file may claim to hold


def is_one(start):
    """Whether a file that begins with these bytes is a workbook or a Parquet table."""
    return start[:4] in (ZIP, OLD_EXCEL, PARQUET)


def as_csv(content, start, name):
    """The bytes of what read_book returns, as CSV in UTF-8."""
    return as_text(read_book(content, start, name)).to_csv(index=False).encode("utf-8", "replace")


def read_book(content, start, name):
    """The DataFrame of a workbook's first sheet, with a notice of others, or of a Parquet table.

    content: the open file; start: its first bytes. Raises UserError where it cannot be read, or its reader is missing.
    """
    kind, package, read = {ZIP: ("an Excel workbook", "openpyxl", _read_sheet),
                           OLD_EXCEL: ("an old Excel workbook (.xls)", "xlrd", _read_sheet),
                           PARQUET: ("a Parquet table", "pyarrow", _read_parquet)}[start[:4]]
    source = content.read(LARGEST + 1)
    if len(source) > LARGEST:
        raise UserError(f"{name}: {kind} of more than {LARGEST // MB} MB; expected it saved as CSV")
    try:
        return read(source, name)
    except ImportError:
        raise UserError(f"{name}: {kind}, and its reader is not installed; expected it saved as CSV, or the reader: "
                        f"pip install {package}") from None
    except MemoryError:
        raise
    except Exception as error:  # the readers raise many kinds
        why = (str(error).splitlines() or [type(error).__name__])[0][:150]
        raise UserError(f"{name}: {kind} that cannot be read ({why}); expected it saved as CSV") from None


def _read_sheet(source, name):
    """The DataFrame of a workbook's first sheet; its cells as they are."""
    if source[:4] == ZIP and zip_total(source) > UNPACKED:
        raise ValueError(f"more than {UNPACKED // MB} MB when unpacked")
    with pd.ExcelFile(io.BytesIO(source)) as book:
        first, *others = book.sheet_names
        if others:
            echo(f"notice: {name}: only its first sheet, {first!r}, is read; others: {', '.join(map(str, others[:5]))}")
        table = pd.read_excel(book, sheet_name=first, dtype=object, na_filter=False)
    return table.rename(columns={f"Unnamed: {k}": "" for k in range(1, table.shape[1])})  # pandas' name for none


def _read_parquet(source, _):
    """The DataFrame of a Parquet table, with its index unless that only numbers the rows."""
    import pyarrow.parquet
    facts = pyarrow.parquet.read_metadata(io.BytesIO(source))
    if facts.num_rows * max(1, facts.num_columns) > CELLS:
        raise ValueError(f"{facts.num_rows} rows of {facts.num_columns} columns")
    table = pd.read_parquet(io.BytesIO(source))
    numbered = table.index.name is None and isinstance(table.index, pd.RangeIndex)
    return table if numbered else table.reset_index()


def as_text(table):
    """The table with its cells as strings, nothing where there is no value; whole numbers have no decimals. Those that a
    float does not tell from the next one have an exponent, so that none is taken for an id."""
    table = table.reset_index(drop=True)
    for place in range(table.shape[1]):
        values = table.iloc[:, place]
        if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
            exact = not values.abs().max() >= EXACT
            values = values.astype("Int64") if exact else values.map("{:e}".format, na_action="ignore")
        text = values.astype(object).where(values.notna(), "").map(str)
        table.isetitem(place, text)
    return table
