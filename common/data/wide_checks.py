"""What is wrong with tables with a column for each annotator: errors, warnings and notices."""
import os
import re
import shlex
from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd

from common.data.class_names import plain
from common.data.rows import like, spot
from common.data.tables import Frame
from common.system.errors import UserError, echo, warn

COLUMNS = "the names of the task's, worker's and label's column in --columns TASK WORKER LABEL"
OTHERS = "if other columns are the items' and the annotators': --columns TASK --annotators NAME ..."
NO_HEADER = ", or --no-header if it is an answer"
PERSON_PATTERN = "annotator|coder|expert|grader|judge|rater|reader|reviewer|worker"  # in columns' names
MIN_ANSWERS = 10  # answers of labels that nobody else gives: then a column is no annotator's
LONG = 8  # rows from which two columns whose pairs hardly repeat are no accident
FEW_TWICE = .9  # the share of different pairs from which they hardly repeat
FIRST, MOST = 4, .7  # the columns among which these two are, and the share of all pairs of their values that there is
# words in the names of columns by which a person rates several properties of an item
CRITERIA = {"accuracy", "adequacy", "clarity", "coherence", "completeness", "consistency", "correct", "correctness",
            "faithfulness", "fluency", "grammar", "helpfulness", "informativeness", "readability", "relevance", "usefulness"}
STEADY = .25  # the variance of the rows' sums where cells count votes, as a share of that of independent columns
# by which answers in a column are alike more than those in a row, where rows are people; 14 public crowds have .06 at most
MARGIN = .1
MANY = 6  # columns, of which not all are named in a line


def check_header(file, table, lines):
    """Raises UserError where the first line is an answer like those below."""
    again = [name for name in table if name and not name.isdigit() and name in table[name].values]
    if len(again) > 1 or (again and len(table) in (2, 3) and len(lines) > 2):
        raise UserError(f"{file}, line 1: {again[0]!r} stands in the rows below too, so there is no header; expected a "
                        "first line with the columns' names, as task,worker,label"
                        f"{NO_HEADER * (not isinstance(file, Frame))}")


def refuse_long(file, table, names, numbered=False):
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
            person = [re.search(f"{PERSON_PATTERN}|participant|respondent|user", name.lower()) for name in pair]
            if person[0] and not person[1] or not any(person) and values[0] < values[1]:  # there are more items than people
                pair = pair[::-1]
            nameless = isinstance(file, Frame) and all(name.isdigit() for name in table)
            typed = "--no-header " * nameless + f"--columns {shlex.join([*pair, label])}"
            raise UserError(f"{file}, line 1: columns {', '.join(names)}; {pair[0]!r} and {pair[1]!r} look like a task and "
                            f"a worker, as hardly a pair of theirs comes twice; expected them named: {typed}, or, if each "
                            "column is an annotator's, a first column named task with the items")


def check_annotators(file, table, names, codes, written, several):
    """Raises UserError for a column that seems to be no annotator's. codes: int (N, M) into `written`, the labels."""
    written = [name.lower() for name in written]
    odd = _unlike_the_others(codes, written)
    values, occurring = _values_of(codes, written)
    for k in [k for k, column in enumerate(values) if len(names) > 2 and all(occurring[value] == 1 for value in column)]:
        count = (codes[:, k] >= 0).sum()
        if count >= MIN_ANSWERS and odd is None:
            odd = k
        elif 0 < count < MIN_ANSWERS:
            warn(f"{file}: nothing in column {names[k]!r} is in another; is it an annotator's?")
    if odd is not None:
        each = ", or --columns TASK LABEL if each file is one annotator's" * several
        raise UserError(f"{file}, line 1: columns {', '.join(table)[:120]}; expected task, worker and label, or their "
                        f"names in --columns TASK WORKER LABEL{each}, or a column of labels for each annotator, named in "
                        f"--annotators if there are others: hardly anything in {names[odd]!r} is in another; if it is "
                        "labels, name all there are in --classes")


def refuse_minus_one(file, rows, classes, columns=None):
    """Raises UserError where -1 seems to stand for no answer in the Rows. classes: those of --classes, or None; columns: the
    Column that names the table's columns, by default the annotators'."""
    written = plain(rows.label.values)
    if "-1" not in written or "-1" in (classes or ()):
        return
    if {"0", "1"} <= {*written} or not any(re.fullmatch(r"\d+", name) for name in written):
        cell = np.flatnonzero([written[code] == "-1" for code in rows.label.codes])[0]
        columns = columns or rows.annotator
        column = columns.values[columns.codes[cell]]
        raise UserError(f"{spot(file, rows.lines, cell)}: -1 in column {column!r}; expected nothing where there is no "
                        "answer, or -1 among --classes")


def warn_of_criteria(file, names):
    """Warns of columns that are called like different criteria by which one person rates."""
    words = [CRITERIA & set(re.split(r"[^a-z]+", name.lower())) for name in names]
    criteria = [name for name, found in zip(names, words, strict=True) if found]
    if len(set().union(*words)) > 1 and 2 * len(criteria) > len(names):
        warn(f"{file}: {listed(criteria)} look like criteria, not annotators; expected the answers of several people to "
             "one question")


def refuse_counts(file, names, codes, written):
    """Raises UserError for a table that counts votes, whose columns are classes: its rows add up to almost the same, in one
    cell alone for some. codes: int (N, M) into `written`."""
    if len(codes) < LONG or len(names) < 3 or not all(name.isdigit() for name in written) or (codes < 0).any():
        return
    counts = np.array(written, float)[codes]
    sums = counts.sum(1)
    if sums.var() <= STEADY * counts.var(0).sum() and (counts == sums[:, None]).any() and sums.max() > 2:
        total = f"{sums.min():.0f}" + f" to {sums.max():.0f}" * bool(sums.var())
        raise UserError(f"{file}: the cells of each row add up to {total}, so the columns {listed(names)} seem to be "
                        "classes with their votes; expected who gave which label, or all labels in --classes")


def warn_of_rows(file, header, task, names, codes):
    """Warns where the answers in a column, the median one, are alike more than those in a row: each row may be a person's.
    header: all columns; task: the items', or None; codes: int (N, M) into the labels."""
    if not (codes >= 0).any():
        return
    (equal, pairs), (equal_below, pairs_below) = _equal_pairs(codes), _equal_pairs(codes.T)
    below = pairs_below > 0
    if not (pairs.any() and below.any()):
        return
    rows, columns = equal.sum() / pairs.sum(), np.median(equal_below[below] / pairs_below[below])
    if columns < rows + MARGIN:
        return
    how = questions_flag(header, task, names) if task else "expected a first column named worker"
    warn(f"{file}: two answers in a column are equal in {columns:.0%}, two in a row in {rows:.0%}; perhaps each row has one "
         f"person's answers: {how}")


def questions_flag(header, worker, names):
    """What is typed for a table with a row for each annotator, in the column `worker`, and the items' columns `names`.
    header: all columns."""
    start = os.path.commonprefix(names)
    if start and not start.startswith("-") and like(f"{start}*", header) == list(names):
        questions = shlex.quote(f"{start}*")
    else:
        questions = shlex.join(names) if len(names) <= MANY else "NAME ..."
    return f"--columns {shlex.quote(worker)} --questions {questions}"


def _equal_pairs(codes):
    """(equal, pairs), int (N,) each: how many pairs of answers in a row are equal, and how many there are. codes: int
    (N, M), -1 for no answer."""
    row, _ = np.nonzero(codes >= 0)
    cells, counts = np.unique(row * (codes.max() + 1) + codes[codes >= 0], return_counts=True)
    answers = np.bincount(row, minlength=len(codes))
    equal = np.bincount(cells // (codes.max() + 1), counts * (counts - 1), len(codes))
    return equal, answers * (answers - 1)


def say_unanswered(file, item, codes):
    """A notice of items without an answer, which may be notes below the table."""
    silent = np.flatnonzero((codes < 0).all(1))
    if len(silent):
        echo(f"notice: {file}: no answers to {len(silent)} of {len(codes)} items, as "
             f"{item.values[item.codes[silent[-1]]][:60]!r}")


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


def listed(names):
    return ", ".join(names) if len(names) <= MANY else f"{names[0]} to {names[-1]}"
