"""Tables with a row for each annotator and a column for each item, as surveys are kept."""
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd

from common.data.class_names import NOTHING
from common.data.columns import Column, is_empty, normal
from common.data.layouts import MORE_WORKERS, WORKER, find_survey, key, matching
from common.data.rows import (
    Rows,
    check_columns,
    conditions,
    is_one_of,
    named_columns,
    not_annotators,
    select,
    without_rows,
)
from common.data.tables import header_of, is_unnamed, unit_of
from common.data.wide_checks import MANY, listed, refuse_minus_one
from common.system.errors import UserError, echo, warn

ROWS = "a row for each annotator"  # how the layout of such a table begins
NO_PART = ("", "Response", "Open-Ended Response")  # in the second line of SurveyMonkey's header


def read_survey(file, classes, where=()):
    """The Rows of the table of a survey's tool, see layouts.SURVEYS; None of any other table."""
    survey = find_survey(header_of(file))
    if survey is None:
        return None
    table, lines = select(file, None, where)
    worker = _worker_of(survey, table, lines)
    keys = {key(name) for name in table}
    out = {worker, *matching(table, survey.others), *conditions(file, where), *not_annotators(list(table)),
           *(name for name in table if key(name) in (*WORKER, *MORE_WORKERS)),
           *(name for name in table if key(name).endswith("time") and key(name).removesuffix("time") in keys)}
    questions = [name for name in table if name not in out]
    if not questions:
        raise UserError(f"{file}: a table of {survey.tool} without questions; expected a column for each")
    left_out = [name for name in table if name in out - {worker} and set(table[name].values) - NOTHING]
    if left_out:
        echo(f"notice: {file}: a table of {survey.tool}; columns that are no questions are left out: {', '.join(left_out)}")
    named = _second_names(table, worker, questions)
    twice = next((name for name, count in Counter(named).items() if count > 1), None)
    if twice:
        raise UserError(f"{file}: two questions are named {twice!r}; expected a name for each")
    rows = by_rows(file, table, worker, questions, lines, classes)
    return replace(rows, item=Column(rows.item.codes, named))


def _worker_of(survey, table, lines):
    """The column of a survey's persons: the first whose values are there and all differ, else the last."""
    people = [name for worker in survey.workers for name in table if key(name) == worker]
    whole = [name for name in people if len(table[name].values) == len(lines) and "" not in table[name].values]
    return (whole or people[-1:])[0]


def _second_names(table, worker, questions):
    """The names of the questions with those of a second line of the header, which names nobody: of the parts of a question
    only the first has a name above."""
    second = is_empty(table[worker])[:1].any()
    found, above = [], ""
    for name in questions:
        below = table[name].values[table[name].codes[0]] if second else ""
        above = above if is_unnamed(name) and above else name
        found.append(name if below in NO_PART else f"{above} [{below}]")
    return found


def read_questions(file, columns, questions, classes, where=()):
    """The Rows of a table with a row for each annotator, whose columns `questions` are the items; `*` in one stands for
    anything. columns: the name of the annotators' column, or None: the first one."""
    flag = f"--questions {' '.join(questions)}"
    if len(columns or ()) > 1:
        raise UserError(f"--columns {' '.join(columns)} and {flag}: expected the annotators' column alone in --columns")
    header = header_of(file)
    survey = find_survey(header)
    known = next((name for name in header if survey and key(name) == survey.workers[-1]), header[0])
    worker = normal(columns[0]) if columns else known
    check_columns(file, header, [worker], f"--columns {worker}")
    items = [name for name in named_columns(file, header, questions, flag) if name != worker]
    if not items:
        raise UserError(f"{flag}: {worker!r} names the annotators; expected the columns of the items")
    table, lines = select(file, list(dict.fromkeys([worker, *items])), where)
    if not columns and len(table[worker].values) < len(lines):
        raise UserError(f"{flag}: a value of {worker!r} comes twice; expected the annotators' column in --columns")
    return by_rows(file, table, worker, items, lines, classes)


def by_rows(file, table, worker, items, lines, classes):
    """The Rows of a table with a row for each annotator, in the column `worker`, and a column for each of the items."""
    out = is_one_of(table[worker], {"", "Response ID"})  # the second is in Qualtrics' second line
    table, lines = without_rows(file, table, lines, out, f"without a person in {worker!r}")
    people = table[worker]
    echo(f"notice: {file}: taken as a row for each of {len(people.values)} annotators and a column for each of "
         f"{len(items)} items")
    labels, codes = coded(table, items)
    row, item = np.nonzero(codes >= 0)
    rows = Rows(Column(item, items), Column(people.codes[row], people.values), Column(codes[row, item], labels), lines[row],
                unit_of(file), f"{ROWS}: worker={worker}, {listed(items)}")
    refuse_minus_one(file, rows, classes, rows.item)
    if not classes:
        _warn_of_other_questions(file, items, codes, labels)
    return rows


def _warn_of_other_questions(file, items, codes, labels):
    """Warns of columns that share no answer with another, and may be no question about an item. codes: int (N, K) into the
    labels, -1 for nothing."""
    given = np.zeros((len(labels), len(items)), bool)
    row, item = np.nonzero(codes >= 0)
    given[codes[row, item], item] = True
    unshared = given.any(0) & ~given[given.sum(1) > 1].any(0)
    if 0 < unshared.sum() < len(items):
        names = ", ".join(repr(items[k]) for k in np.flatnonzero(unshared)[:MANY])
        warn(f"{file}: no answer in {names} is in another column; if these are no questions about items, name the others in "
             "--questions")


def coded(table, names):
    """(labels, codes): the labels that occur, and the cells of the columns `names`, int (N, K) into them, -1 for nothing."""
    labels = pd.Index(sorted(set().union(*(table[name].values for name in names)) - NOTHING))
    return list(labels), np.stack([labels.get_indexer(table[name].values)[table[name].codes] for name in names], 1)
