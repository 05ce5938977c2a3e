"""Files of answers as rows: who gave which item which label, in any layout."""
import re
import shlex
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from common.data.columns import JOINT, Column, is_empty, normal, take
from common.data.exports import json_table, nested_table, task_names
from common.data.item_columns import items_of
from common.data.layouts import NOT_AN_ANNOTATOR, Roles, find_roles, key, unclear_label
from common.data.opening import unpacked
from common.data.tables import Frame, columns_of, encoding_of, first_bytes, header_of, read_columns, unit_of
from common.data.workbooks import PARQUET, read_book
from common.system.errors import UserError, echo, first_few


@dataclass(frozen=True)
class Rows:
    """L answers of a file: three Columns; `lines`, int (L,), the line or record of each, None where there is none; `unit`,
    what the lines are; `layout`, what was taken for what, in a few words."""
    item: Column
    annotator: Column
    label: Column
    lines: np.ndarray | None
    unit: str
    layout: str


def open_answers(file, where=()):
    """The file itself where it is a table of text, else the Frame of what is in its JSON or in its lists and objects."""
    if isinstance(file, Frame):
        return file if file.layout else nested_table(file.table, file.name, where) or file
    start = first_bytes(file)
    if start[:4] == PARQUET:
        with unpacked(file) as content:
            return nested_table(read_book(content, start, file), str(file), where) or file
    start = start.decode(encoding_of(start), "ignore").lstrip("\ufeff").lstrip()[:1]
    return json_table(file, where) if start in ("{", "[") else file


def read_long(file, roles, where, person):
    """The Rows of a table with an answer in each row. person: the annotator of a file without a column for the worker."""
    labels = roles.options or (roles.label,)
    names = list(dict.fromkeys(name for name in (roles.task, roles.worker, *labels, *roles.inputs, roles.ids) if name))
    table, lines = select(file, names, where, roles.left_out)
    table, roles = _named_items(file, roles, table)
    if roles.options:
        table[roles.label] = _chosen(file, roles, table, lines)
    table, lines = answered(file, roles, table, lines)
    item, label = whole(table[roles.task], roles.task, file, lines, _leave_out(roles.task)), table[roles.label]
    if roles.worker:
        annotator = whole(table[roles.worker], roles.worker, file, lines, _leave_out(roles.worker))
    else:
        annotator = Column(np.zeros(len(lines), int), [person])
    layout = file.layout if isinstance(file, Frame) and file.layout else roles.describe()
    numbered = not isinstance(file, Frame) or file.unit
    return Rows(item, annotator, label, lines if numbered else None, unit_of(file), layout)


def _leave_out(name):
    """What an error says of rows without a value in a column: --where knows no joined ones."""
    return "" if "+" in name else f", or --where {shlex.quote(f'{name}!=')} to leave such rows out"


def _named_items(file, roles, table):
    """(table, Roles), in which the task's column names the items, see exports.task_names."""
    if not roles.ids:
        return table, roles
    shown = pd.DataFrame({name: table[name].codes for name in roles.inputs})
    ids, tasks, workers = table[roles.ids], table[roles.task], table[roles.worker].codes
    if roles.units:  # a column with several values for one id is a further answer
        shown = shown.loc[:, shown.groupby(ids.codes).nunique().max() == 1]
        workers = np.zeros_like(workers)
    inputs = shown.groupby(list(shown)).ngroup() if len(shown.columns) else workers
    names = task_names(file, tasks.codes, workers, inputs, ids.codes)
    if names is None:
        return table, roles
    if roles.units:  # those alone whose name stands for several
        several = pd.Series(names).groupby(tasks.codes).transform("nunique").to_numpy() > 1
        mixed = np.where(several, names, len(ids.values) + tasks.codes)
        return table | {roles.task: take(Column(mixed, [*ids.values, *tasks.values]), slice(None))}, roles
    return table | {roles.ids: take(Column(names, ids.values), slice(None))}, replace(roles, task=roles.ids)


def _chosen(file, roles, table, lines):
    """The Column of the label, which is the option that is true. Raises UserError where several are, or other words."""
    odd = [name for name in roles.options if set(map(str.lower, table[name].values)) - {"true", "false", "1", "0", ""}]
    if odd:
        raise unclear_label(file, roles.tool, roles.options, roles.task, roles.worker)
    chosen = np.stack([is_one_of(table[name], {"true", "1"}, fold=True) for name in roles.options], 1)
    several = np.flatnonzero(chosen.sum(1) > 1)
    if len(several):
        raise UserError(f"{spot(file, lines, several[0])}: several of {roles.label}.* are true; expected one label")
    names = ["", *(name[len(roles.label) + 1:] for name in roles.options)]
    return take(Column(np.where(chosen.any(1), chosen.argmax(1) + 1, 0), names), slice(None))


def answered(file, roles, table, lines):
    """The table and its lines without the rows that have no label, and without the header again, with notices."""
    if roles.worker and not roles.options:
        table, lines = without_headers(file, table, lines, (roles.task, roles.worker, roles.label))
    return without_rows(file, table, lines, is_empty(table[roles.label]), "without a label")


def _without_import_ids(table, lines):
    """The table and its lines without the second and the third line of Qualtrics' header."""
    for column in table.values():
        ids = [code for code, value in enumerate(column.values[:3]) if value.startswith('{"ImportId"')]
        if ids:
            rows = slice(np.flatnonzero(column.codes == ids[0])[0] + 1, None)
            return {name: take(each, rows) for name, each in table.items()}, lines[rows]
    return table, lines


def without_headers(file, table, lines, names):
    """The table and its lines without the rows that have the names of the columns `names` again."""
    again = np.logical_and.reduce([is_one_of(table[name], {name, JOINT.join(map(normal, name.split("+")))})
                                   for name in names])
    return without_rows(file, table, lines, again, "that repeat the header")


def without_rows(file, table, lines, out, why):
    """The table and its lines without the rows `out`, bool (N,), with a notice."""
    if not out.any():
        return table, lines
    echo(f"notice: {file}: rows {why} are left out: {out.sum()} of {len(out)}")
    return {name: take(column, ~out) for name, column in table.items()}, lines[~out]


def roles_in(file, columns, several):
    """The Roles of a file's columns, by the names that --columns gives or by the layouts; None for a table with a column for
    each annotator."""
    header = header_of(file)
    if not columns:
        roles = find_roles(file, header, several)
        known = roles is None or roles.tool or not roles.worker or isinstance(file, Frame) and file.layout
        return roles if known else items_of(file, header, roles)
    if len(columns) == 2 and several:  # a file of each annotator
        columns = [columns[0], None, columns[1]]
    elif len(columns) != 3:
        raise UserError(f"--columns {' '.join(columns)}: expected TASK WORKER LABEL, or TASK LABEL with several files, "
                        "one of each annotator")
    given = [name for name in columns if name is not None]
    check_columns(file, header, given, f"--columns {' '.join(given)}")
    try:
        left_out = find_roles(file, header).left_out
    except (UserError, AttributeError):  # a layout that is not known
        left_out = ()
    return Roles(*(name if name is None else normal(name) for name in columns), left_out=left_out)


def check_columns(file, header, names, flag):
    """Raises UserError for a name that means no column of the header, see columns_of."""
    missing = next((name for name in names if columns_of(name, header) is None), None)
    if missing is not None:
        raise UserError(f"{flag}: {file} has no column {missing!r}; it has {', '.join(header)}")


def named_columns(file, header, names, flag):
    """The columns that the user's `names` stand for: a column each, or all others that match a pattern."""
    found = []
    for name in names:
        matching = [] if columns_of(name, header) else like(name, header)
        found += [column for column in matching if column not in found] if matching else [normal(name)]
    check_columns(file, header, found, flag)
    if len(set(found)) < len(found):
        raise UserError(f"{flag}: a column twice; expected each once")
    return found


def like(pattern, header):
    """The columns that match a pattern in which `*` stands for anything."""
    return [name for name in header if re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name)]


def select(file, names, where=(), left_out=()):
    """({name: Column}, lines) of a table's columns `names` (None: all), of the rows that count.

    where: words COLUMN=VALUE or COLUMN!=VALUE of --where; of one column's values any will do. left_out: as in Roles, with a
    notice.
    """
    wanted = conditions(file, where)
    more = [*wanted, *(name for name, *_ in left_out)]
    names = header_of(file) if names is None else names
    table, lines = _without_import_ids(*read_columns(file, list(dict.fromkeys([*names, *more]))))
    keep = np.ones(len(lines), bool)
    for name, (values, unwanted) in wanted.items():
        keep &= ~is_one_of(table[name], unwanted)
        if values:
            keep &= is_one_of(table[name], values)
        if not keep.any():
            raise UserError(f"--where {' '.join(where)}: no row of {file}; column {name!r} has "
                            f"{first_few(sorted(table[name].values))}")
    for why in dict.fromkeys(why for _, why, _ in left_out):
        out = np.zeros(len(lines), bool)
        for name, reason, values in left_out:
            if reason == why:
                out |= is_one_of(table[name], values, fold=True) if values else ~is_empty(table[name])
        if (out & keep).any():
            echo(f"notice: {file}: {why} are left out: {(out & keep).sum()} of {keep.sum()} rows")
        keep &= ~out
    if not keep.all():
        table, lines = {name: take(column, keep) for name, column in table.items()}, lines[keep]
    return {name: table[name] for name in names}, lines


def conditions(file, where):
    """{column: (values, values that are left out)} of the words COLUMN=VALUE and COLUMN!=VALUE. Raises UserError for
    a column that the table does not have."""
    wanted, header = {}, header_of(file) if where else ()
    for word in where or ():
        name, equal, value = word.partition("=")
        if not equal:
            raise UserError(f"--where {word}: expected COLUMN=VALUE or COLUMN!=VALUE")
        unwanted = name.endswith("!") and normal(name) not in header
        name = name.removesuffix("!") if unwanted else name
        if normal(name) not in header:
            raise UserError(f"--where {word}: {file} has no column {name!r}; it has {', '.join(header)}")
        wanted.setdefault(normal(name), (set(), set()))[unwanted].add(normal(value))
    return wanted


def is_one_of(column, values, fold=False):
    """bool (N,): whether a cell holds one of the values."""
    held = np.array([(value.lower() if fold else value) in values for value in column.values], bool)
    return held[column.codes] if len(held) else np.zeros(len(column.codes), bool)


def spot(file, lines, row):
    """Where a row stands: `answers.csv, line 7`."""
    return f"{file}, {unit_of(file)} {lines[row]}"


def whole(column, name, file, lines, more=""):
    """The column, after a check that no cell of it is empty. more: what else an error says."""
    empty = np.flatnonzero(is_empty(column))
    if len(empty):
        raise UserError(f"{spot(file, lines, empty[0])}: nothing in column {name!r}; expected a value in every row{more}")
    return column


def not_annotators(names):
    """Those of a wide table's columns that are no annotator's: the truth, a vote, what is known of the item, and the
    confidence or time that belongs to another column."""
    keys = {key(name) for name in names}

    def whose(name):
        """The column that the confidence or the like belongs to: `ann` of ann_confidence, conf_ann and ann (confidence)."""
        word = r"(conf|confidence|certainty|time|seconds|duration|comment)"
        return re.sub(rf"^{word}[_ .-]|[_ .-]+\(?{word}\)?$", "", key(name))
    return [name for name in names if key(name) in NOT_AN_ANNOTATOR
            or whose(name) != key(name) and keys & {whose(name), f"label_{whose(name)}", f"{whose(name)}_label"}]
