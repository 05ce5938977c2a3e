"""Tables of answers with a column for each annotator, or a row for each."""
import re

import numpy as np
import pandas as pd

from common.data.class_names import NOTHING, WIDE, plain
from common.data.columns import Column, normal
from common.data.layouts import (
    FIRST_TASKS,
    MORE_TASKS,
    MORE_WORKERS,
    PERSONS,
    STAMPS,
    TASK,
    TRUTH,
    WORKER,
    find_column,
    key,
)
from common.data.rows import (
    Rows,
    check_columns,
    conditions,
    named_columns,
    not_annotators,
    select,
    spot,
    whole,
    without_headers,
)
from common.data.surveys import by_rows, coded
from common.data.tables import UNNAMED, Frame, first_bytes, header_of, is_unnamed, unit_of
from common.data.wide_checks import (
    COLUMNS,
    NO_HEADER,
    OTHERS,
    PERSON_PATTERN,
    check_annotators,
    check_header,
    listed,
    questions_flag,
    refuse_counts,
    refuse_long,
    refuse_minus_one,
    say_unanswered,
    warn_of_criteria,
    warn_of_rows,
)
from common.data.workbooks import is_one
from common.system.errors import UserError, echo

NUMBERED = "the row's number"  # as the task


def read_wide(file, classes, where=(), several=False):
    """The Rows of a table with a column for each annotator and nothing where there is no answer, or with a row for each.
    several: the file is one of several."""
    table, lines = _select(file, where)
    conditional = conditions(file, where)
    names = [name for name in table if name not in conditional]
    stamp = names.pop(0) if names and key(names[0]) in STAMPS else None
    while len(names) > 2 and names[0] in UNNAMED and (names[1] in UNNAMED or find_column(names[1:2], TASK) or (
            find_column(names[1:2], MORE_TASKS) and table[names[0]].values[:2] in (["0", "1"], ["1", "2"]))):
        names = names[1:]
    if not all(name.isdigit() for name in table):  # else labels may be called as the columns are
        table, lines = without_headers(file, table, lines, table)
    check_header(file, table, lines)
    if stamp:
        _check_form(file, stamp, names)
    for name in conditional:
        echo(f"notice: {file}: column {name!r} is in --where, and no annotator's")
    for name in not_annotators(names[1:]):
        more = f"; --truth {file} scores with it, --gold {file} learns from it" if key(name) in TRUTH else ""
        echo(f"notice: {file}: column {name!r} is no annotator's and is left out{more}")
        names.remove(name)
    if _is_a_row_for_each_annotator(table, names):
        return by_rows(file, table, names[0], names[1:], lines, classes)
    if names and key(names[0]) in WORKER:
        raise UserError(f"{file}, line 1: columns {', '.join(table)[:200]}, none for the task; expected {COLUMNS}")
    if len(names) < 2:
        raise UserError(f"{file}, line 1: columns {', '.join(table)}; expected task, worker and label, or one for each "
                        "annotator")
    item, task, names = _items(file, table, names, lines)
    rows, codes = _rows(file, table, lines, item, task, names)
    if not classes:
        written = plain(rows.label.values)
        check_annotators(file, table, names, codes, written, several)
        refuse_counts(file, names, codes, written)
        warn_of_rows(file, header_of(file), None if task == NUMBERED else task, names, codes)
        warn_of_criteria(file, names)
    refuse_minus_one(file, rows, classes)
    return rows


def read_named(file, columns, annotators, classes, where=()):
    """The Rows of a table whose columns `annotators` are the annotators'. columns: the name of the items' column, or None:
    the first one, or the rows' numbers if that is an annotator's."""
    flag = f"--annotators {' '.join(annotators)}"
    if len(columns or ()) > 1:
        raise UserError(f"--columns {' '.join(columns)} and {flag}: expected the items' column alone in --columns")
    header = header_of(file)
    names = named_columns(file, header, annotators, flag)
    task = normal(columns[0]) if columns else header[0]
    check_columns(file, header, [task], f"--columns {task}")
    if columns and task in names:
        raise UserError(f"{flag} and --columns {task}: a column twice; expected each once")
    table, lines = select(file, list(dict.fromkeys([task, *names])), where)
    table, lines = without_headers(file, table, lines, table)
    if task in names:
        item, task = _by_number(lines), NUMBERED
    else:
        item = _one_row_each(file, whole(table[task], task, file, lines), lines)
    rows, _ = _rows(file, table, lines, item, task, names)
    refuse_minus_one(file, rows, classes)
    return rows


def _select(file, where):
    """({name: Column}, lines) of all columns but those with neither a name nor a cell, as programs write them at the end.
    Raises UserError for cells under no name, as of a title above the header."""
    table, lines = select(file, None, where)
    unnamed = [name for k, name in enumerate(table) if k and is_unnamed(name)]
    full = next((name for name in unnamed if set(table[name].values) - NOTHING), None)
    if full:
        text = not isinstance(file, Frame) and not is_one(first_bytes(file))
        raise UserError(f"{file}, line 1: nothing above column {list(table).index(full) + 1}; expected a name for each "
                        f"column in the first line{NO_HEADER * text}")
    return {name: column for name, column in table.items() if name not in unnamed}, lines


def _rows(file, table, lines, item, task, names):
    """(Rows, codes): the labels in the columns `names`; codes: int (N, M) into the labels that occur, -1 for nothing."""
    labels, codes = coded(table, names)
    say_unanswered(file, item, codes)
    row, annotator = np.nonzero(codes >= 0)
    return Rows(Column(item.codes[row], item.values), Column(annotator, names), Column(codes[row, annotator], labels),
                lines[row], unit_of(file), f"{WIDE}: task={task}, {listed(names)}"), codes


def _items(file, table, names, lines):
    """(the Column of the items, what it is called, the names of the annotators' columns).

    The items are in the first column if it is called so, or nothing, or if no value of it comes twice and it holds what no
    other does, or running numbers, more than there are labels. Else they are the rows' numbers, from 0.
    """
    first, own = table[names[0]], set(table[names[0]].values) - NOTHING
    others = set().union(*(table[name].values for name in names[1:])) - NOTHING
    distinct = len(first.values) == len(first.codes) and "" not in first.values
    unlike = not own & others or _ascend(first) and len(own) > len(others)
    named = names[0] in UNNAMED or find_column(names[:1], (*TASK, *MORE_TASKS, *FIRST_TASKS))
    if not named and not (distinct and unlike):
        refuse_long(file, table, names)
        return _by_number(lines), NUMBERED, names
    if _ascend(first):
        refuse_long(file, table, names[1:], numbered=True)
    item = whole(first, names[0], file, lines, f"; {OTHERS}")
    return _one_row_each(file, item, lines), names[0], names[1:]


def _by_number(lines):
    return Column(np.arange(len(lines)), [str(row) for row in range(len(lines))])


def _one_row_each(file, item, lines):
    """The items' Column, after a check that no value comes twice."""
    again = np.flatnonzero(pd.Series(item.codes).duplicated())
    if len(again):
        raise UserError(f"{spot(file, lines, again[0])}: {item.values[item.codes[again[0]]]!r} a second time; expected a "
                        f"row for each item (several columns name it: --columns A+B --annotators NAME ...), or {COLUMNS}")
    return item


def _is_a_row_for_each_annotator(table, names):
    """Whether the first column is named as the annotators' and no other as the items', or the other columns are all named
    like files of one kind, or as a survey's questions."""
    if len(names) < 3 or find_column(names[1:], TASK):
        return False
    first, ends = table[names[0]], {re.search(r"\.[A-Za-z]\w{1,4}$|$", name).group().lower() for name in names[1:]}
    distinct = len(first.values) == len(first.codes) and "" not in first.values
    files = len(ends) == 1 and ends != {""}
    questions = all(re.search(r"[ ?]|^q\d", name.lower()) for name in names[1:])
    survey = key(names[0]) in PERSONS and questions and not re.search(f"{PERSON_PATTERN}|label", " ".join(names[1:]).lower())
    return distinct and (key(names[0]) in (*WORKER, *MORE_WORKERS) or survey or files and not _like_files(first.values))


def _check_form(file, stamp, names):
    """Says that a table's first column is left out, which has the time of each row. Raises UserError where the next one
    names neither the persons of a form nor items."""
    echo(f"notice: {file}: column {stamp!r} is left out")
    if not names or key(names[0]) == "name" or not find_column(names[:1], (*WORKER, *MORE_WORKERS, *TASK, *MORE_TASKS)):
        worker, questions = (names[0], names[1:]) if names and key(names[0]) == "name" else (stamp, names)
        typed = questions_flag(header_of(file), worker, questions)
        raise UserError(f"{file}, line 1: column {stamp!r} comes first, so each row seems to be a person's answers to a "
                        f"form; expected them named: {typed}, or the items in a column named task")


def _like_files(names):
    return all(re.search(r"\.[A-Za-z]\w{1,4}$", name) for name in names)


def _ascend(column):
    """Whether the cells of a column are whole numbers, each larger than the one before."""
    cells = [column.values[code] for code in column.codes]
    return all(re.fullmatch(r"\d+", cell) for cell in cells) and bool((np.diff(np.array(cells, float)) > 0).all())
