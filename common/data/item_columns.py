"""Which column of a table with an answer in each row names the items, where more than one may."""
import shlex
from dataclasses import replace

import numpy as np
import pandas as pd

from common.data.layouts import CONTENT, MORE_TASKS, TASK, find_column, key
from common.data.tables import read_columns
from common.system.errors import UserError, echo

COUNTERS = ("id", "index", "row")  # columns that may number the rows
ORDERS = ("index", "row")  # that may number each person's trials
MIXED = 2  # if one number stands for this many items on average, it does not identify an item
REPEATED = .2  # the share of a worker's repeated answers from which a column is not the items'
QUESTIONS = ("question", "question_id")
# what a question is asked of
ASKED = (*(name for name in CONTENT if name not in ("id", "question")), "document_id", "doc_id", "text_id", "passage",
         "context")


def items_of(file, header, roles):
    """The Roles with another column for the task, where that of the task numbers the rows, or each worker's rows, and
    another one's values come several times, from different workers for the most part. Raises UserError where the task's
    column is a question, and another one says of what it is asked."""
    if key(roles.task) in QUESTIONS:
        return _asked_of(file, header, roles)
    others = [name for name in header if name not in (roles.task, roles.worker, roles.label)
              and key(name) not in (*COUNTERS, "page") and find_column([name], (*TASK, *MORE_TASKS))]
    if not others or key(roles.task) not in COUNTERS:
        return roles
    table, lines = read_columns(file, [roles.task, roles.worker, *others])
    numbers = table[roles.task]

    def is_task(name):
        shown = _pairs(numbers, table[name])
        if len(numbers.values) < len(lines) and (key(roles.task) not in ORDERS or shown < MIXED * len(numbers.values)):
            return False
        pairs = pd.DataFrame({"item": table[name].codes, "worker": table[roles.worker].codes})
        return 1 < len(table[name].values) < len(lines) and pairs.duplicated().mean() < REPEATED
    found = next(filter(is_task, others), None)
    if found is None:
        return roles
    echo(f"notice: {file}: {found!r} names the items, as {roles.task!r} numbers rows (--columns TASK WORKER LABEL)")
    return replace(roles, task=found)


def _asked_of(file, header, roles):
    """The Roles, with the column of which one question is asked for the task. Raises UserError where there are several
    questions, each with several values of another column, which come several times too."""
    others = [name for name in header if name not in (roles.task, roles.worker, roles.label) and key(name) in ASKED]
    if not others:
        return roles
    table, lines = read_columns(file, [roles.task, *others])
    questions = table[roles.task]
    for name in others:
        values = table[name].values
        several = _pairs(questions, table[name]) >= MIXED * len(questions.values)
        if several and "" not in values and 1 < len(values) <= len(lines) / MIXED:  # no comments: few are equal, or empty
            if len(questions.values) == 1:
                echo(f"notice: {file}: {name!r} names the items, as there is one {roles.task!r} (--columns TASK WORKER "
                     "LABEL)")
                return replace(roles, task=name)
            ways = (f"--columns {shlex.join([task, roles.worker, roles.label])}" for task in (
                f"{name}+{roles.task}", roles.task))
            raise UserError(f"{file}: {name!r} differs within a {roles.task!r}; if both name an item: {next(ways)}; if the "
                            f"{roles.task} alone: {next(ways)}")
    return roles


def _pairs(first, second):
    """How many pairs of values two Columns have in the same row."""
    return len(np.unique(first.codes.astype(np.int64) * len(second.values) + second.codes))
