"""Tables with a row for each annotator and a column for each item, as surveys are kept."""
import numpy as np
import pandas as pd

from common.data.class_names import NOTHING
from common.data.layouts import MORE_WORKERS, WORKER, find_survey, key, matching
from common.data.rows import (
    Rows,
    check_columns,
    conditions,
    named_columns,
    not_annotators,
    select,
    without_import_ids,
    without_rows,
)
from common.data.tables import Column, Frame, header_of, is_empty, normal
from common.data.wide_checks import listed, refuse_minus_one
from common.system.errors import UserError, echo


def read_survey(file, classes, where=()):
    """The Rows of the table of a survey's tool, see layouts.SURVEYS; None of any other table."""
    survey = find_survey(header_of(file))
    if survey is None:
        return None
    table, lines = without_import_ids(*select(file, None, where))
    people = [name for worker in survey.workers for name in table if key(name) == worker]
    worker = next((name for name in people if len(table[name].values) == len(lines)), people[-1])
    out = {worker, *matching(table, survey.others), *conditions(file, where), *not_annotators(list(table)),
           *(name for name in table if key(name) in (*WORKER, *MORE_WORKERS))}
    questions = [name for name in table if name not in out]
    if not questions:
        raise UserError(f"{file}: a table of {survey.tool} without questions; expected a column for each")
    left_out = [name for name in table if name in out - {worker} and set(table[name].values) - NOTHING]
    if left_out:
        echo(f"notice: {file}: a table of {survey.tool}; columns that are no questions are left out: {', '.join(left_out)}")
    return by_rows(file, table, worker, questions, lines, classes)


def read_questions(file, columns, questions, classes, where=()):
    """The Rows of a table with a row for each annotator, whose columns `questions` are the items; `*` in one stands for
    anything. columns: the name of the annotators' column, or None: the first one."""
    flag = f"--questions {' '.join(questions)}"
    if len(columns or ()) > 1:
        raise UserError(f"--columns {' '.join(columns)} and {flag}: expected the annotators' column alone in --columns")
    header = header_of(file)
    worker = normal(columns[0]) if columns else header[0]
    check_columns(file, header, [worker], f"--columns {worker}")
    items = [name for name in named_columns(file, header, questions, flag) if name != worker]
    if not items:
        raise UserError(f"{flag}: {worker!r} names the annotators; expected the columns of the items")
    table, lines = without_import_ids(*select(file, list(dict.fromkeys([worker, *items])), where))
    return by_rows(file, table, worker, items, lines, classes)


def by_rows(file, table, worker, items, lines, classes):
    """The Rows of a table with a row for each annotator, in the column `worker`, and a column for each of the items."""
    table, lines = without_rows(file, table, lines, is_empty(table[worker]), f"without a value in {worker!r}")
    people = table[worker]
    echo(f"notice: {file}: taken as a row for each of {len(people.values)} annotators and a column for each of "
         f"{len(items)} items")
    labels, codes = coded(table, items)
    row, item = np.nonzero(codes >= 0)
    rows = Rows(Column(item, items), Column(people.codes[row], people.values), Column(codes[row, item], labels), lines[row],
                unit_of(file), f"a row for each annotator: worker={worker}, {listed(items)}")
    refuse_minus_one(file, rows, classes)
    return rows


def coded(table, names):
    """(labels, codes): the labels that occur, and the cells of the columns `names`, int (N, K) into them, -1 for nothing."""
    labels = pd.Index(sorted(set().union(*(table[name].values for name in names)) - NOTHING))
    return list(labels), np.stack([labels.get_indexer(table[name].values)[table[name].codes] for name in names], 1)


def unit_of(file):
    """What the rows of a file are numbered as."""
    return isinstance(file, Frame) and file.unit or "line"
