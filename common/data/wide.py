"""Tables of answers with a column for each annotator, or a row for each."""
import re
from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd

from common.data.class_names import NOTHING, WIDE, plain
from common.data.layouts import (
    FIRST_TASKS,
    MORE_TASKS,
    MORE_WORKERS,
    PERSONS,
    ROWS,
    STAMPS,
    TASK,
    TRUTH,
    WORKER,
    find_column,
    key,
)
from common.data.rows import Rows, conditions, not_annotators, select, spot, whole, without_headers
from common.data.tables import Column, Frame
from common.system.errors import UserError, echo, warn

COLUMNS = "the names of the task's, worker's and label's column in --columns TASK WORKER LABEL"
SEVERAL = 10  # answers of labels that nobody else gives: then a column is no annotator's
LONG = 8  # rows from which two columns whose pairs hardly repeat are no accident
FEW_TWICE = .9  # the share of different pairs from which they hardly repeat
FIRST, MOST = 4, .7  # the columns among which these two are, and the share of all pairs of their values that there is
ANNOTATORS = "rater|coder|annotator|judge|grader|reviewer|label|reader|expert|worker"  # in names that are no questions
MANY = 6  # columns, of which not all are named in a line


def read_wide(file, classes, where=()):
    """The Rows of a table with a column for each annotator and nothing where there is no answer, or with a row for each."""
    table, lines = select(file, None, where)
    conditional = conditions(file, where)
    names = [name for name in table if name not in conditional
             and (name or table[name].values != [""])]  # some programs write an empty one at the end
    stamp = names.pop(0) if names and key(names[0]) in STAMPS else None
    if len(names) > 2 and names[0] in ROWS and find_column(names[1:2], TASK):
        names = names[1:]
    if not all(name.isdigit() for name in table):  # else labels may be called as the columns are
        table, lines = without_headers(file, table, lines, table)
    _check_header(file, table, lines)
    if stamp:
        _check_form(file, stamp, names)
    for name in not_annotators(names[1:]):
        more = f"; --truth {file} scores with it, --gold {file} learns from it" if key(name) in TRUTH else ""
        echo(f"notice: {file}: column {name!r} is no annotator's and is left out{more}")
        names.remove(name)
    if _is_a_row_for_each_annotator(table, names):
        return _read_transposed(file, table, names, lines)
    if names and key(names[0]) in WORKER:
        raise UserError(f"{file}, line 1: columns {', '.join(table)[:200]}, none for the task; expected {COLUMNS}")
    if len(names) < 2:
        raise UserError(f"{file}, line 1: columns {', '.join(table)}; expected task, worker and label, or one for each "
                        "annotator")
    item, task, names = _items(file, table, names, lines)
    # one column after another, then sorted by rows
    labels = pd.Index(sorted(set().union(*(table[name].values for name in names)) - NOTHING))
    codes = np.stack([labels.get_indexer(table[name].values)[table[name].codes] for name in names], 1)
    written = plain(list(labels))
    if not classes:
        _check_annotators(file, table, names, codes, written)
        _refuse_counts(file, names, codes, written)
    _say_unanswered(file, item, codes)
    row, annotator = np.nonzero(codes >= 0)
    if "-1" not in (classes or ()):
        _refuse_minus_one(file, names, written, codes[row, annotator], annotator, lines[row])
    return Rows(Column(item.codes[row], item.values), Column(annotator, names), Column(codes[row, annotator], list(labels)),
                lines[row], _unit(file), f"{WIDE}: task={task or 'the first column'}, {_listed(names)}")


def _items(file, table, names, lines):
    """(the Column of the items, what it is called, the names of the annotators' columns).

    The items are in the first column if it is called so, or nothing, or if no value of it comes twice and it holds what no
    other does, or running numbers, more than there are labels. Else they are the rows' numbers, from 0.
    """
    first, own = table[names[0]], set(table[names[0]].values) - NOTHING
    others = set().union(*(table[name].values for name in names[1:])) - NOTHING
    distinct = len(first.values) == len(first.codes) and "" not in first.values
    unlike = not own & others or _ascend(first) and len(own) > len(others)
    named = names[0] in ROWS or find_column(names[:1], (*TASK, *MORE_TASKS, *FIRST_TASKS))
    if not named and not (distinct and unlike):
        _refuse_long(file, table, names)
        return Column(np.arange(len(lines)), [str(row) for row in range(len(lines))]), "the row's number", names
    if _ascend(first):
        _refuse_long(file, table, names[1:], numbered=True)
    item = whole(first, names[0], file, lines)
    if not distinct:
        again = np.flatnonzero(pd.Series(item.codes).duplicated())[0]
        raise UserError(f"{spot(file, lines, again)}: {item.values[item.codes[again]]!r} a second time; expected a row "
                        f"for each item, or {COLUMNS}")
    return item, names[0], names[1:]


def _listed(names):
    return ", ".join(names) if len(names) <= MANY else f"{names[0]} to {names[-1]}"


def _unit(file):
    return isinstance(file, Frame) and file.unit or "line"


def _check_header(file, table, lines):
    """Raises UserError where the first line is an answer like those below, or one of three of a header."""
    if any(value.startswith('{"ImportId"') for name in table for value in table[name].values[:3]):
        raise UserError(f"{file}: Qualtrics' export, whose header has three lines; expected the first one alone, with the "
                        "column ResponseId and those of the questions")
    again = [name for name in table if name and not name.isdigit() and name in table[name].values]
    if len(again) > 1 or (again and len(table) in (2, 3) and len(lines) > 2):
        raise UserError(f"{file}, line 1: {again[0]!r} stands in the rows below too, so there is no header; expected a "
                        "first line with the columns' names: task,worker,label, or these names in --columns")


def _is_a_row_for_each_annotator(table, names):
    """Whether the first column is named as the annotators' and no other as the items', or the other columns are all named
    like files of one kind, or as a survey's questions."""
    if len(names) < 3 or find_column(names[1:], TASK):
        return False
    first, ends = table[names[0]], {re.search(r"\.[A-Za-z]\w{1,4}$|$", name).group().lower() for name in names[1:]}
    distinct = len(first.values) == len(first.codes) and "" not in first.values
    files = len(ends) == 1 and ends != {""}
    questions = all(re.search(r"[ ?]|^q\d", name.lower()) for name in names[1:])
    survey = key(names[0]) in PERSONS and questions and not re.search(ANNOTATORS, " ".join(names[1:]).lower())
    return distinct and (key(names[0]) in (*WORKER, *MORE_WORKERS) or survey or files and not _like_files(first.values))


def _check_form(file, stamp, names):
    """Says that a table's first column is left out, which has the time of each row. Raises UserError where the next one
    names neither the persons of a form nor items."""
    echo(f"notice: {file}: column {stamp!r} is left out")
    if not names or key(names[0]) == "name" or not find_column(names[:1], (*WORKER, *MORE_WORKERS, *TASK, *MORE_TASKS)):
        raise UserError(f"{file}, line 1: column {stamp!r} comes first, so each row seems to be a person's answers to a "
                        "form; expected the persons in the next column, named worker, or the items, named task")


def _like_files(names):
    return all(re.search(r"\.[A-Za-z]\w{1,4}$", name) for name in names)


def _read_transposed(file, table, names, lines):
    """The Rows of a table with a row for each annotator and a column for each item."""
    people, items = table[names[0]], names[1:]
    echo(f"notice: {file}: taken as a row for each of {len(people.values)} annotators and a column for each of "
         f"{len(items)} items")
    labels = pd.Index(sorted(set().union(*(table[name].values for name in items)) - NOTHING))
    codes = np.stack([labels.get_indexer(table[name].values)[table[name].codes] for name in items], 1)
    row, item = np.nonzero(codes >= 0)
    layout = f"a row for each annotator: worker={names[0] or 'the first column'}, {_listed(items)}"
    return Rows(Column(item, items), Column(people.codes[row], people.values), Column(codes[row, item], list(labels)),
                lines[row], _unit(file), layout)


def _refuse_long(file, table, names, numbered=False):
    """Raises UserError for three columns or more of which two look like a task and a worker under other names: most pairs of
    their values are there, hardly one comes twice, and the two are seldom equal, as answers to one item would be. Of three
    columns in rows that are not numbered it is enough that no pair of the first two comes twice."""
    for pair in combinations(names[:FIRST], 2) if len(names) > 2 else ():
        one, other = (table[name] for name in pair)
        rows, values = len(one.codes), (len(one.values), len(other.values))
        pairs = len(np.unique(one.codes.astype(np.int64) * (len(other.values) + 1) + other.codes))
        equal = pd.Index(other.values).get_indexer(one.values)[one.codes] == other.codes
        crossed = pairs >= FEW_TWICE * rows and rows >= MOST * values[0] * values[1]
        never_twice = not numbered and len(names) == 3 and pair == tuple(names[:2]) and pairs == rows
        if rows >= LONG and max(values) < rows and equal.mean() < .5 and (crossed or never_twice):
            label = (names[names.index(pair[1]) + 1:] or ["LABEL"])[0]
            raise UserError(f"{file}, line 1: columns {', '.join(names)}; {pair[0]!r} and {pair[1]!r} look like a task and "
                            "a worker, as hardly a pair of theirs comes twice; expected them named: --columns "
                            f"{' '.join(pair)} {label}, or, if each column is an annotator's, a first column named task "
                            "with the items")


def _check_annotators(file, table, names, codes, written):
    """Raises UserError for a column that seems to be no annotator's. codes: int (N, M) into `written`, the labels."""
    written = [name.lower() for name in written]
    odd = _unlike_the_others(codes, written)
    values, occurring = _values_of(codes, written)
    for k in [k for k, column in enumerate(values) if len(names) > 2 and all(occurring[value] == 1 for value in column)]:
        count = (codes[:, k] >= 0).sum()
        if count >= SEVERAL and odd is None:
            odd = k
        elif 0 < count < SEVERAL:
            warn(f"{file}: nothing in column {names[k]!r} is in another; is it an annotator's?")
    if odd is not None:
        raise UserError(f"{file}, line 1: columns {', '.join(table)[:120]}; expected task, worker and label, or their "
                        "names in --columns TASK WORKER LABEL, or a column of labels for each annotator and no others: "
                        f"hardly anything in {names[odd]!r} is in another; if it is labels, name all there are in --classes")


def _refuse_minus_one(file, names, written, code, annotator, lines):
    """Raises UserError where -1 seems to stand for no answer. code: int (L,) into `written`, the labels."""
    if "-1" in written and ({"0", "1"} <= {*written} or not any(re.fullmatch(r"\d+", name) for name in written)):
        cell = np.flatnonzero([written[each] == "-1" for each in code])[0]
        raise UserError(f"{spot(file, lines, cell)}: -1 in column {names[annotator[cell]]!r}; expected nothing "
                        "where there is no answer, or -1 among --classes")


def _refuse_counts(file, names, codes, written):
    """Raises UserError for a table whose rows all add up to the same, in one cell alone for some: it counts votes, and its
    columns are classes. codes: int (N, M) into `written`."""
    if len(codes) < LONG or len(names) < 3 or not all(name.isdigit() for name in written) or (codes < 0).any():
        return
    counts = np.array(written, float)[codes]
    if (counts.sum(1) == counts[0].sum()).all() and (counts == counts[0].sum()).any() and counts[0].sum() > 2:
        raise UserError(f"{file}: the cells of each row add up to {counts[0].sum():.0f}, so the columns {_listed(names)} "
                        "seem to be classes with their votes; expected who gave which label, or all labels in --classes")


def _say_unanswered(file, item, codes):
    """A notice of items without an answer, which may be notes below the table."""
    silent = np.flatnonzero((codes < 0).all(1))
    if len(silent):
        echo(f"notice: {file}: no answers to {len(silent)} of {len(codes)} items, as "
             f"{item.values[item.codes[silent[-1]]][:60]!r}")


def _ascend(column):
    """Whether the cells of a column are whole numbers, each larger than the one before."""
    cells = [column.values[code] for code in column.codes]
    return all(re.fullmatch(r"\d+", cell) for cell in cells) and bool((np.diff(np.array(cells, float)) > 0).all())


def _values_of(codes, names):
    """([set], Counter): the values of each column, and in how many columns each occurs. codes: int (N, M) into names, -1 for
    nothing."""
    values = [{names[code] for code in np.unique(column[column >= 0])} for column in codes.T]
    return values, Counter(value for column in values for value in column)


def _unlike_the_others(codes, names):
    """The first column that has hardly a value in common with any other where another has one too, so that it is no
    annotator's; None where there is none. codes: int (N, M) into names, -1 for nothing."""
    values, occurring = _values_of(codes[(codes >= 0).sum(1) > 1], names)
    shared = [sum(occurring[value] > 1 for value in column) for column in values]
    if not any(shared) and len(occurring) > 2:
        return 0
    return next((k for k, column in enumerate(values) if len(column) > 2 and 4 * shared[k] < len(column)), None)
