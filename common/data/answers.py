"""What a crowd answered, as people and tools keep it: tables and JSON in any known layout, which the content shows."""
import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from common.data.class_names import (
    nearest,
    number_classes,
    plain,
    same_numbers,
    some,
    tidy_labels,
    warn_of_misspellings,
)
from common.data.columns import JOINT, is_empty, normal, rename
from common.data.exports import PEERANNOT, refuse_objects, zooniverse_table
from common.data.item_columns import REPEATED
from common.data.layouts import LABEL, MORE_LABELS, MORE_TASKS, TASK, TRUTH, Roles, find_column
from common.data.rows import answered, open_answers, read_long, roles_in, whole
from common.data.several_files import by_files, concatenate, people_of, refuse_questions
from common.data.surveys import ROWS, read_questions, read_survey
from common.data.tables import Frame, header_of, read_columns, without_header
from common.data.wide import read_named, read_wide
from common.names import DUPLICATES
from common.system.errors import UserError, echo, warn

SCIENTIFIC = r"\d(\.\d+)?[eE]\+\d+"  # an id that a spreadsheet or a float has shortened
UNANIMOUS = 20  # items with several answers, all equal, from which a label is doubtful
UPLOAD = r".*/upload/\d+/[0-9a-f]{8}-|.*/local-files/\?d="  # what Label Studio puts before a file's name


@dataclass(frozen=True)
class Answers:
    """L answers: int (L,) each into the names `items`, `annotators` and `classes`; `lines`, the line of `file` that each
    stands on, None where the file has no lines; `unit`, what the lines are.

    Of several files `files` has the names and `part`, int (L,), says which of them each answer is from. `layout` says what
    was taken for the task, the worker and the label."""
    item: np.ndarray
    annotator: np.ndarray
    label: np.ndarray
    items: list
    annotators: list
    classes: list
    file: str
    lines: np.ndarray | None = None
    unit: str = "line"
    files: tuple = ()
    part: np.ndarray | None = None
    layout: str = ""

    def __len__(self):
        return len(self.item)

    def describe(self):
        """`long table: task=unit, worker=coder, label=code; 8 items, 5 annotators, 3 classes`."""
        return (f"{self.layout}; {len(self.items)} items, {len(self.annotators)} annotators, {len(self.classes)} classes")

    def place(self, answer):
        """Where an answer stands: `answers.csv, line 7`."""
        file = self.file if self.part is None else self.files[self.part[answer]]
        if self.lines is None or self.lines[answer] < 0:
            return f"{file}, task {self.items[self.item[answer]]!r}"
        return f"{file}, {self.unit or 'line'} {self.lines[answer]}"

    def place_of_item(self, item):
        """Where the first answer to an item stands, or the file where it has none."""
        first = np.flatnonzero(self.item == item)[:1]
        return self.place(first[0]) if len(first) else self.file

    def keep(self, answers):
        """These answers (a mask, or int (K,)) alone."""
        lines, part = (None if values is None else values[answers] for values in (self.lines, self.part))
        return replace(self, item=self.item[answers], annotator=self.annotator[answers], label=self.label[answers],
                       lines=lines, part=part)


def read_answers(files, columns=None, annotators=None, questions=None, classes=None, duplicates="last", where=(),
                 no_header=False):
    """The Answers in a file or a Frame, or in several.

    columns: the names of the task's, the worker's and the label's column; annotators: the names of the annotators' columns
    instead, with the task's in `columns`, or none; questions: those of the items' columns, with the worker's in `columns`,
    or none; `A+B` is several columns as one. classes: the classes' names, by
    default those that occur; duplicates: which of a worker's answers to one item counts, `last`, `first`, `count` (each) or
    `error` (none may be repeated); where: words COLUMN=VALUE, of which the rows that count have one for each column;
    no_header: the first line is an answer, and the columns are called 1, 2, and so on.

    Of several files without a column for the worker each is one annotator's. Raises UserError for anything that is wrong
    with them; prints a warning for a class of one answer alone.
    """
    if duplicates not in DUPLICATES:
        raise UserError(f"--duplicates {duplicates}: expected one of {', '.join(DUPLICATES)}")
    files = list(files) if isinstance(files, list | tuple) else [files]
    classes = classes and [normal(name) for name in classes]
    tables = [without_header(file) for file in files] if no_header else [open_answers(file, where) for file in files]
    people = people_of(files) if len(files) > 1 else [None]
    parts = [_tidy(table, _read(table, columns, annotators, questions, classes, where, person), classes)
             for table, person in zip(tables, people, strict=True)]
    rows, part = parts[0], None
    if len(parts) > 1:
        if not annotators and not questions:
            refuse_questions(tables, parts)
        rows, part = concatenate(by_files(people, parts))
    file = str(files[0]) + f" and {len(files) - 1} more" * (len(files) > 1)
    if not len(rows.label.codes):
        raise UserError(f"{file}: no answers; expected at least two annotators who answered")
    item, annotator, label = (_merged(column) for column in (rows.item, rows.annotator, rows.label))
    answers = Answers(item.codes, annotator.codes, label.codes, item.values, annotator.values, label.values, file,
                      rows.lines, rows.unit, tuple(map(str, files)), part, rows.layout)
    label, names = number_classes(answers, classes)
    answers = _once(replace(answers, label=label, classes=names), duplicates)
    if len(answers.annotators) < 2:
        more = "" if len(files) > 1 else ", or a file of each: --answers ann.csv bob.csv"
        raise UserError(f"{file}: one annotator alone, {answers.annotators[0]!r}; expected two or more{more}")
    if len(answers.classes) < 2:
        raise UserError(f"{file}: one class alone, {answers.classes[0]!r}; expected two or more")
    warn_of_misspellings(answers)
    _check_shape(answers, classes)
    return answers


def _read(table, columns, annotators, questions, classes, where, person):
    """The Rows of one file in any layout. person: whose it is if it is one of several and has no column for the worker."""
    flags = {"columns": columns, "annotators": annotators, "questions": questions, "where": where}
    if isinstance(table, Frame) and table.layout == PEERANNOT and any(flags.values()):
        flag = next(f"--{name} {' '.join(words)}" for name, words in flags.items() if words)
        raise UserError(f"{flag}: {table} is JSON, which has no columns")
    if annotators and questions:
        raise UserError(f"--annotators {' '.join(annotators)} and --questions {' '.join(questions)}: the columns are one or "
                        "the other; expected one of these flags")
    if questions:
        return read_questions(table, columns, questions, classes, where)
    if annotators:
        return read_named(table, columns, annotators, classes, where)
    if not isinstance(table, Frame) and not columns:
        table = zooniverse_table(table, where) or table
    survey = None if columns else read_survey(table, classes, where)
    if survey:
        return survey
    roles = roles_in(table, columns, person is not None)
    if roles is None:
        try:
            return read_wide(table, classes, where, person is not None)
        except UserError:
            refuse_objects(table)
            raise
    rows = read_long(table, roles, where, person)
    if not columns and roles.worker:
        _warn_of_one_label(table, rows)
    return rows


def _tidy(file, rows, classes):
    """The Rows with plain names of the classes and the items. Raises UserError for ids that a spreadsheet has shortened."""
    for kind, column in (("item", rows.item), ("worker", rows.annotator)):
        short = next((name for name in column.values if "+" in name
                      and any(re.fullmatch(SCIENTIFIC, part) for part in name.split(JOINT))), None)
        if short:
            raise UserError(f"{file}: {kind} {short!r} is a number that a spreadsheet or a column of floats has shortened, "
                            "so that different ones look the same; expected the ids in full, as text")
    short = [re.sub(UPLOAD, "", name) if "/" in name else name for name in rows.item.values]
    item = rename(rows.item, short) if short != rows.item.values and len(set(short)) == len(short) else rows.item
    return replace(rows, item=item, label=tidy_labels(file, rows.label, rows.lines, classes))


def _merged(column):
    """The Column with one name for `1` and `1.0`."""
    names = same_numbers(column.values)
    return column if names == column.values else rename(column, names)


def _check_shape(answers, classes):
    """Warns of more annotators or classes than items, and of `01` beside `1`. Raises UserError where the labels are hardly
    classes at all."""
    for names, what in ((answers.items, "items"), (answers.annotators, "annotators")):
        there = set(names)
        padded = next((name for name in names if name[:1] == "0" and name.lstrip("0") in there), None)
        if padded:
            warn(f"{answers.file}: {padded.lstrip('0')!r} and {padded!r} are two {what}; is one of them miswritten?")
        folded = {}
        for name in names if what == "annotators" else ():
            if folded.setdefault(name.casefold(), name) != name:
                warn(f"{answers.file}: {folded[name.casefold()]!r} and {name!r} are two annotators; is one miswritten?")
    alike = _alike(answers.items)
    if alike:
        one, other = alike[0]
        more = f" {len(alike)} such pairs" * (len(alike) > 1)
        warn(f"{answers.file}: {one!r} and {other!r} are two items; are they one?{more}")
    items, found = (np.count_nonzero(np.bincount(codes)) for codes in (answers.item, answers.label))
    if not classes and found > max(items, 20):
        raise UserError(f"{answers.file}: {answers.layout}: {found} classes of {items} items; expected fewer classes than "
                        "items: name the columns by --columns TASK WORKER LABEL, or the classes by --classes")
    for count, what in ((found, "classes"), (len(answers.annotators), "annotators")):
        if count > items and not answers.layout.startswith(ROWS):
            warn(f"{answers.file}: {count} {what} of {items} items; are the columns the right ones? {answers.layout} "
                 "(--columns TASK WORKER LABEL)")


def _warn_of_one_label(file, rows):
    """Warns of a label on which all annotators agree, which may be a property of the items, where a further column could
    be the label."""
    pairs = pd.DataFrame({"item": rows.item.codes, "label": rows.label.codes})
    count = np.bincount(rows.item.codes)
    if (count > 1).sum() >= UNANIMOUS and len(pairs.drop_duplicates()) == len(rows.item.values) and (
            len(header_of(file)) > 3):
        warn(f"{file}: all answers to an item have one label; is it what the annotators say? {rows.layout} "
             "(--columns TASK WORKER LABEL)")


def _alike(names):
    """[(name, name)]: names that differ by capitals, by the kind of slashes, or by the file's ending alone."""
    paths = "\n".join(names).casefold().replace("\\", "/").replace("\n./", "\n").removeprefix("./").split("\n")
    if len(paths) != len(names):  # a name of several lines
        return []
    first, alike = {}, []
    if len(set(paths)) < len(names):
        alike = [(other, name) for path, name in zip(paths, names, strict=True)
                 if (other := first.setdefault(path, name)) != name]
    bare = {path for path in paths if "." not in path[-5:]}
    if len(bare) in (0, len(paths)):
        return alike
    first = dict(zip(reversed(paths), reversed(names), strict=True))
    stems = ((path, re.sub(r"\.[a-z]{3,4}$", "", path)) for path in first if path not in bare)
    return alike + [(first[stem], first[path]) for path, stem in stems if stem in bare]


def read_labels(file, classes, known_by):
    """(names, labels, lines) of a table task,label: what each item is, int (N,) into `classes`; lines, int (N,).
    known_by says in errors where the classes come from."""
    header = header_of(file)
    label = find_column(header, (*TRUTH, *LABEL, *MORE_LABELS))  # a crowd's label may stand beside the truth
    others = [name for name in header if name != label]
    task = find_column(others, TASK) or find_column(others, MORE_TASKS)
    if task is None or label is None or task == label:
        raise UserError(f"{file}, line 1: columns {', '.join(header)}; expected task and label")
    columns, lines = read_columns(file, (task, label))
    if is_empty(columns[label]).all():
        raise UserError(f"{file}: nothing in column {label!r}; expected labels")
    columns, lines = answered(file, Roles(task, None, label), columns, lines)
    task, label = whole(columns[task], task, file, lines), columns[label]
    number = {name: c for c, name in enumerate(classes)}
    index = np.array([number.get(name, -1) for name in plain(label.values)], int)
    unknown = np.flatnonzero(index[label.codes] < 0)
    if len(unknown):
        name = label.values[label.codes[unknown[0]]]
        raise UserError(f"{file}, line {lines[unknown[0]]}: {name!r}, which {known_by}{nearest(name, classes)}; "
                        f"expected one of {some(classes)}, or other --classes")
    rows = pd.DataFrame({"task": task.codes, "label": index[label.codes]})
    once = ~rows.duplicated().to_numpy()
    rows, lines = rows[once], lines[once]
    twice = np.flatnonzero(rows["task"].duplicated())
    if len(twice):
        raise UserError(f"{file}, line {lines[twice[0]]}: {task.values[rows['task'].iloc[twice[0]]]!r} a second time, with "
                        "another label; expected one for each task")
    return [task.values[code] for code in rows["task"]], rows["label"].to_numpy(), lines


def _once(answers, duplicates):
    """With a worker's second answers to an item treated as `duplicates` says."""
    if duplicates == "count":
        return answers
    pair = pd.Series(answers.item.astype(np.int64) * len(answers.annotators) + answers.annotator)
    again = pair.duplicated().to_numpy()
    if not again.any():
        return answers
    if duplicates == "error":
        second = np.flatnonzero(again)[0]
        raise UserError(f"{answers.place(second)}: {answers.annotators[answers.annotator[second]]!r} answers "
                        f"{answers.items[answers.item[second]]!r} a second time, {again.sum()} such answers in all; "
                        "expected one for each, or --duplicates last, first or count")
    left_out = pair.duplicated(keep=duplicates).to_numpy()
    kinds = pd.DataFrame({"pair": pair, "label": answers.label}).drop_duplicates()
    differ = int((kinds.groupby("pair").size() > 1).sum())
    said = f"{again.sum()} answers of a worker who had answered the item before; identical ones count once" + (
        f"; {differ} times they differ, and the {duplicates} one in the file counts (--duplicates)" if differ else "")
    if again.mean() > REPEATED and differ:
        warn(f"{answers.file}: {said}; if it takes several columns to name an item, or there are several questions, "
             "expected one column for the items (--columns TASK WORKER LABEL) and one question (--where)")
    else:
        echo(f"notice: {said}")
    return answers.keep(~left_out)
