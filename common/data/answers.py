"""What a crowd answered, as people keep it: a table of answers, a table with a column for each annotator, or
peerannot's answers.json. Told apart by the content."""
import difflib
import json
import re
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from common.crowd.labels import CrowdLabels
from common.data.opening import unpacked
from common.data.tables import Column, Frame, first_bytes, header_of, read_columns
from common.names import DUPLICATES
from common.system.errors import UserError, warn

TASK = ("task", "item", "task_id", "item_id", "taskid", "itemid", "example", "question", "image", "file", "filename",
        "file_name", "name", "id", "index", "image_id", "example_id", "question_id", "sample_id", "instance_id",
        "document_id", "doc_id", "text_id")
WORKER = ("worker", "annotator", "worker_id", "annotator_id", "workerid", "annotatorid", "performer", "user", "user_id",
          "rater", "labeler", "labeller")
TRUTH = ("truth", "true_label", "ground_truth", "gold_label")
LABEL = ("label", "answer", "response", "class", "annotation", "given_label", "category")
NOTHING = {"", "nan", "NaN", "NA", "<NA>", "N/A", "n/a", "null", "NULL"}  # in a column for each annotator: no answer
ROWS = ("", "Unnamed: 0")  # the column of the rows' numbers, as pandas writes it and reads it again
NO_LABELS = NOTHING | {"none", "None", "?", "-"}  # what is rarely meant as a class


@dataclass(frozen=True)
class Answers:
    """L answers: int (L,) each into the names `items`, `annotators` and `classes`; `lines`, the line of `file` that each
    stands on, None where the file has no lines."""
    item: np.ndarray
    annotator: np.ndarray
    label: np.ndarray
    items: list
    annotators: list
    classes: list
    file: str
    lines: np.ndarray | None = None

    def __len__(self):
        return len(self.item)

    def place(self, answer):
        """Where an answer stands: `answers.csv, line 7`."""
        if self.lines is None:
            return f"{self.file}, task {self.items[self.item[answer]]!r}"
        return f"{self.file}, line {self.lines[answer]}"

    def place_of_item(self, item):
        """Where the first answer to an item stands, or the file where it has none."""
        first = np.flatnonzero(self.item == item)[:1]
        return self.place(first[0]) if len(first) else self.file

    def keep(self, answers):
        """These answers (a mask, or int (K,)) alone."""
        lines = None if self.lines is None else self.lines[answers]
        return replace(self, item=self.item[answers], annotator=self.annotator[answers], label=self.label[answers],
                       lines=lines)

    def crowd(self, index, items):
        """CrowdLabels of `items` items: index, int array, says which of them each of self.items is."""
        return CrowdLabels.from_triples(index[self.item], self.annotator, self.label, items, len(self.annotators),
                                        len(self.classes))


def read_answers(file, columns=None, classes=None, duplicates="last"):
    """The Answers in a file or a Frame.

    columns: the names of the task's, the worker's and the label's column; classes: the classes' names, by default those that
    occur; duplicates: which of a worker's answers to one item counts, `last`, `first`, `count` (each) or `error` (none may
    be repeated).

    Raises UserError for anything that is wrong with it; prints a warning for a class of one answer alone.
    """
    if duplicates not in DUPLICATES:
        raise UserError(f"--duplicates {duplicates}: expected one of {', '.join(DUPLICATES)}")
    if not isinstance(file, Frame) and first_bytes(file).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        if columns:
            raise UserError(f"--columns {' '.join(columns)}: {file} is JSON, which has no columns")
        item, annotator, label, lines = _read_json(file)
    else:
        item, annotator, label, lines = _read_table(file, columns, classes)
    if not len(label.codes):
        raise UserError(f"{file}: no answers; expected at least two annotators who answered")
    label = Column(label.codes, plain(label.values))
    answers = Answers(item.codes, annotator.codes, label.codes, item.values, annotator.values, label.values, file, lines)
    answers = _in_order(answers, classes)
    answers = _once(answers, duplicates)
    if len(answers.annotators) < 2:
        raise UserError(f"{file}: one annotator alone, {answers.annotators[0]!r}; expected two or more")
    if len(answers.classes) < 2:
        raise UserError(f"{file}: one class alone, {answers.classes[0]!r}; expected two or more")
    _warn_of_misspellings(answers)
    return answers


def read_labels(file, classes, known_by):
    """(names, labels, lines) of a table task,label: what each item is, int (N,) into `classes`; lines, int (N,).
    known_by says in errors where the classes come from."""
    header = header_of(file)
    task, label = find_column(header, TASK), find_column(header, (*TRUTH, *LABEL))  # a crowd's label may stand beside it
    if task is None or label is None or task == label:
        raise UserError(f"{file}, line 1: columns {', '.join(header)}; expected task and label")
    columns, lines = read_columns(file, (task, label))
    task, label = _whole(columns[task], "task", file, lines), _whole(columns[label], "label", file, lines)
    twice = np.flatnonzero(pd.Series(task.codes).duplicated())
    if len(twice):
        raise UserError(f"{file}, line {lines[twice[0]]}: {task.values[task.codes[twice[0]]]!r} a second time; "
                        "expected each task once")
    number = {name: c for c, name in enumerate(classes)}
    index = np.array([number.get(name, -1) for name in plain(label.values)], int)
    unknown = np.flatnonzero(index[label.codes] < 0)
    if len(unknown):
        name = label.values[label.codes[unknown[0]]]
        raise UserError(f"{file}, line {lines[unknown[0]]}: {name!r}, which {known_by}{_nearest(name, classes)}; "
                        f"expected one of {_some(classes)}, or other --classes")
    return [task.values[code] for code in task.codes], index[label.codes], lines


def sort_classes(names):
    """By their numbers if all are whole numbers, else by the alphabet."""
    return sorted(names, key=int if all(re.fullmatch(r"[+-]?\d+", name) for name in names) else None)


def plain(names):
    """Names that are all whole numbers, some with the `.0` that a table with gaps gives them, without it."""
    if all(re.fullmatch(r"[+-]?\d+(\.0+)?", name) for name in names if name):
        return [re.sub(r"\.0+$", "", name) for name in names]
    return list(names)


def find_column(header, names):
    """The column that has one of the names, the earlier the better; None where there is none."""
    by_name = {column.lower().replace(" ", "_"): column for column in reversed(header)}
    return next((by_name[name] for name in names if name in by_name), None)


def _read_table(file, columns, classes):
    """(item, annotator, label, lines): three Columns and int (L,)."""
    header = header_of(file)
    if columns:
        missing = [name for name in columns if name not in header]
        if missing:
            raise UserError(f"--columns {' '.join(columns)}: {file} has no column {missing[0]!r}; "
                            f"it has {', '.join(header)}")
    else:
        columns = [find_column(header, names) for names in (TASK, WORKER, LABEL)]
        if columns[1] is None and columns[2] is None:
            truth = find_column(header, TRUTH)
            if truth:
                raise UserError(f"{file}, line 1: column {truth!r} is nobody's answers; expected the truth in a table of "
                                "its own, by --truth or --gold")
            return _read_wide(file, header, classes)
        kinds = ("task", "worker", "label")
        missing = [kind for kind, column in zip(kinds, columns, strict=True) if column is None]
        if missing:
            raise UserError(f"{file}, line 1: columns {', '.join(header)}, none for the {missing[0]}; expected "
                            "task, worker and label, or their names in --columns TASK WORKER LABEL")
    table, lines = read_columns(file, columns)
    return *(_whole(table[name], name, file, lines) for name in columns), lines


def _whole(column, name, file, lines):
    """The column, after a check that no cell of it is empty."""
    empty = np.flatnonzero(column.codes == column.values.index("")) if "" in column.values else ()
    if len(empty):
        raise UserError(f"{file}, line {lines[empty[0]]}: nothing in column {name!r}; expected a value in every row")
    return column


def _read_wide(file, header, classes):
    """As _read_table, of a table with a column for each annotator and nothing where there is no answer. The items' names
    are in the first column if it is called so, or nothing, or if no value of it comes twice and it holds what no other
    does, or running numbers, more than there are labels; else they are the rows' numbers, from 0."""
    table, lines = read_columns(file)
    names = [name for name in table if name or table[name].values != [""]]  # some programs write an empty one at the end
    if len(names) > 2 and names[0] in ROWS and find_column(names[1:2], TASK):
        names = names[1:]
    first = table[names[0]] if names else Column(np.zeros(0, int), [])
    if len(names) < 2:
        raise UserError(f"{file}, line 1: columns {', '.join(header)}; expected task, worker and label, or one for each "
                        "annotator")
    values = [set(table[name].values) - NOTHING for name in names]
    others = set().union(*values[1:])
    distinct = len(first.values) == len(first.codes) and "" not in first.values
    apart = not values[0] & others or _ascend(first) and len(values[0]) > len(others)
    if names[0] in ROWS or find_column(names[:1], TASK) or (distinct and apart):
        item = _whole(first, names[0], file, lines)
        if not distinct:
            again = np.flatnonzero(pd.Series(item.codes).duplicated())[0]
            raise UserError(f"{file}, line {lines[again]}: {item.values[item.codes[again]]!r} a second time; "
                            "expected a row for each item, or the names of the task's, worker's and label's column in "
                            "--columns TASK WORKER LABEL")
        names, values = names[1:], values[1:]
    else:
        item = Column(np.arange(len(lines)), [str(row) for row in range(len(lines))])
    # one column after another, then sorted by rows
    labels = pd.Index(sorted(set().union(*values)))
    codes = np.stack([labels.get_indexer(table[name].values)[table[name].codes] for name in names], 1)
    written = plain(list(labels))
    odd = None if classes else _unlike_the_others(codes, [name.lower() for name in written])
    if odd is not None:
        raise UserError(f"{file}, line 1: columns {', '.join(header)[:120]}; expected task, worker and label, or their "
                        "names in --columns TASK WORKER LABEL, or a column of labels for each annotator and no others: "
                        f"hardly anything in {names[odd]!r} is in another; if it is labels, name all there are in --classes")
    row, annotator = np.nonzero(codes >= 0)
    written = set(written)
    if "-1" in written and ({"0", "1"} <= written or not any(re.fullmatch(r"\d+", name) for name in written)):
        cell = np.flatnonzero([name in ("-1", "-1.0") for name in labels[codes[row, annotator]]])[0]
        raise UserError(f"{file}, line {lines[row[cell]]}: -1 in column {names[annotator[cell]]!r}; expected nothing "
                        "where there is no answer, or -1 named in a table of task, worker and label")
    return (Column(item.codes[row], item.values), Column(annotator, names),
            Column(codes[row, annotator], list(labels)), lines[row])


def _ascend(column):
    """Whether the cells of a column are whole numbers, each larger than the one before."""
    cells = [column.values[code] for code in column.codes]
    return all(re.fullmatch(r"\d+", cell) for cell in cells) and bool((np.diff(np.array(cells, float)) > 0).all())


def _unlike_the_others(codes, names):
    """The first column that has hardly a value in common with any other where another has one too, so that it is no
    annotator's; None where there is none. codes: int (N, M) into names, -1 for nothing."""
    met = codes[(codes >= 0).sum(1) > 1]
    values = [{names[code] for code in np.unique(theirs[theirs >= 0])} for theirs in met.T]
    columns = Counter(value for theirs in values for value in theirs)
    shared = [sum(columns[value] > 1 for value in theirs) for theirs in values]
    if not any(shared) and len(columns) > 2:
        return 0
    return next((k for k, theirs in enumerate(values) if len(theirs) > 2 and 4 * shared[k] < len(theirs)), None)


def _read_json(file):
    """As _read_table, of {task: {worker: label}}; there are no lines."""
    def once(pairs):
        found = {}
        for name, value in pairs:
            if name in found:
                raise UserError(f"{file}: {name!r} twice in one object; expected each task once, and each worker once in it")
            found[name] = value
        return found
    try:
        with unpacked(file) as content:
            tasks = json.loads(content.read().decode("utf-8-sig"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON that can be read ({error})") from None
    if not isinstance(tasks, dict) or not all(isinstance(workers, dict) for workers in tasks.values()):
        raise UserError(f"{file}: expected an object {{task: {{worker: label}}}}, as peerannot's answers.json is")
    triples = [(task.strip(), worker.strip(), label) for task, workers in tasks.items()
               for worker, label in workers.items() if label is not None]
    for task, worker, label in triples:
        if not isinstance(label, str | int | float) or isinstance(label, bool) or str(label).strip() == "":
            raise UserError(f"{file}, task {task!r}, worker {worker!r}: {str(label)[:40]!r}; expected a label")
    frame = pd.DataFrame(triples, columns=["task", "worker", "label"], dtype=object)
    columns = [pd.factorize(frame[name].map(lambda value: str(value).strip())) for name in frame]
    return *(Column(codes, list(values)) for codes, values in columns), None


def _in_order(answers, classes):
    """With the classes in their order: those given, else all that occur. Raises UserError for a label that is not among
    those given."""
    names = sort_classes(set(answers.classes)) if classes is None else list(classes)
    number = {name: c for c, name in enumerate(names)}
    if len(number) < len(names):
        twice = next(name for c, name in enumerate(names) if number[name] > c)
        raise UserError(f"--classes: {twice!r} twice; expected each class once")
    index = np.array([number.get(name, -1) for name in answers.classes])
    unknown = np.flatnonzero(index[answers.label] < 0)
    if len(unknown):
        name = answers.classes[answers.label[unknown[0]]]
        raise UserError(f"{answers.place(unknown[0])}: label {name!r}{_nearest(name, names)}; expected one of --classes, "
                        f"{_some(names)}")
    return replace(answers, label=index[answers.label], classes=names)


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
    print(f"notice: {again.sum()} answers of a worker who had answered the item before; identical ones count once"
          + (f"; {differ} times they differ, and the {duplicates} one counts (--duplicates)" if differ else ""))
    return answers.keep(~left_out)


def _warn_of_misspellings(answers):
    counts = np.bincount(answers.label, minlength=len(answers.classes))
    others = [name for name, count in zip(answers.classes, counts, strict=True) if count > 1]
    for c in np.flatnonzero(counts == 1)[:5]:
        name = answers.classes[c]
        warn(f"{answers.place(np.flatnonzero(answers.label == c)[0])}: {name!r} is the label of this answer "
              f"alone{_nearest(name, others)}")
    written = {}
    for c in np.flatnonzero(counts):
        name = answers.classes[c]
        if name in NO_LABELS:
            warn(f"{answers.file}: {name!r} is a class, of {counts[c]} answers; expected these left out if "
                  "it means that there is none")
        letters = re.search(r"[^\W\d_]", name)
        same = written.setdefault(re.sub(r"[\W_]+", "", name).lower() if letters else name, name)
        if same != name:
            warn(f"{answers.file}: {same!r} and {name!r} are two classes; is one of them misspelt?")


def _nearest(name, names):
    """`, near 'street'` for a name that looks like one of `names`, else nothing."""
    lower = {other.lower(): other for other in names}
    near = difflib.get_close_matches(name.lower(), list(lower), 1)
    return f", near {lower[near[0]]!r}" if near else ""


def _some(names):
    return ", ".join(names[:10]) + (f", ... ({len(names)} in all)" if len(names) > 10 else "")
