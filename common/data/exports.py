"""Answers in JSON and JSON Lines, and in tables with JSON in their cells, as a Frame with an answer in each row.

pandas' to_json(), lists of records, peerannot's answers.json and the exports of annotation tools.
"""
import json
import re
import shlex
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from common.data.json_documents import read_json
from common.data.layouts import CONTENT, TASK, find_column, find_roles
from common.data.platforms import PLATFORMS, is_sagemaker
from common.data.tables import Frame, header_of, read_columns
from common.data.tools import ID, INPUT, SKIP, TOOLS, one
from common.system.errors import UserError, echo

EXPORTS = (*PLATFORMS, *TOOLS)
PEERANNOT = "peerannot's answers.json"
ZOONIVERSE = ("classification_id", "user_name", "annotations", "subject_ids")  # columns of its table
EXPECTED = "expected a list of records, JSON Lines, or an object {task: {worker: label}}, as peerannot's answers.json is"


def json_table(file, where=()):
    """The Frame of a JSON file. Raises UserError for a document that holds no answers, or those of several questions where
    no word of `where` says which."""
    document, lines = read_json(file)
    if isinstance(document, dict):
        if is_sagemaker(document) and "answers" in document:  # of worker-response: the folder names the item
            document.setdefault("task", Path(str(file)).resolve().parent.name)
        document = _of_object(file, document)
        if isinstance(document, Frame):
            return document
    if not document or not all(isinstance(record, dict) for record in document):
        raise UserError(f"{file}: a list without records; {EXPECTED}")
    return _of_records(file, document, lines, where)


def nested_table(table, name, where=()):
    """The Frame of a DataFrame with lists or objects in its cells, as json_table's; None of any other table."""
    return _of_records(name, records_of(table), None, where) if is_nested(table) else None


def is_nested(table):
    """Whether a DataFrame has lists or objects in its cells, as an export of EXPORTS has them."""
    first = _first_cells(table)
    return any(isinstance(value, list | dict | np.ndarray) for value in first.values()) and any(
        is_one(_as_json(first)) for _, is_one, *_ in EXPORTS)


def records_of(table):
    """The rows of a DataFrame as json reads them: a list of dictionaries."""
    table = table.set_axis(map(str, table.columns), axis=1).astype(object)
    return list(map(_as_json, table.where(table.notna(), None).to_dict("records")))


def _first_cells(table):
    """{column: its first cell with a value, None where there is none}."""
    return {str(name): next(iter(table.iloc[:, place].dropna().iloc[:1]), None) for place, name in enumerate(table.columns)}


def _as_json(record):
    """A dictionary of Python's and numpy's objects as json reads it; others, as a picture's bytes, as text."""
    return json.loads(json.dumps(record, default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value)))


def _of_records(file, document, lines, where):
    """The Frame of a list of objects; lines: the line of each, or None."""
    unit, numbers = ("record", np.arange(1, len(document) + 1)) if lines is None else ("line", np.array(lines))
    for tool, is_one, read, roles in EXPORTS:
        if all(map(is_one, document)):
            same_label = len({str(record.get("label")) for record in document}) == 1
            rows = chain.from_iterable(_placed(file, unit, number, read, record, same_label)
                                       for number, record in zip(numbers.tolist(), document, strict=True))
            return _answers_of(file, tool, roles, rows, unit, where)
    return _frame(file, document, numbers, unit)


def _of_object(file, document):
    """The Frame of an object, or the list of records that it stands for."""
    if isinstance(document.get("columns"), list) and isinstance(document.get("data"), list):  # to_json(orient="split")
        columns, rows = document["columns"], document["data"]
        if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
            raise UserError(f"{file}: columns and data as pandas writes them, but not a cell for each column in each row; "
                            "expected the table saved as CSV")
        return [dict(zip(map(str, columns), row, strict=True)) for row in rows]
    for name in ("data", "records", "items", "examples", "results"):  # orient="table", and wrapped lists
        if isinstance(document.get(name), list) and all(isinstance(record, dict) for record in document[name]):
            return document[name]
    if not document or not all(isinstance(value, dict) for value in document.values()):
        if any(is_one(document) for _, is_one, *_ in EXPORTS) or _has_roles(document):
            return [document]  # JSON Lines of one line
        raise UserError(f"{file}: {EXPECTED}")
    if any(all(map(is_one, document.values())) for _, is_one, *_ in EXPORTS):  # {item: record}
        return [record | {"task": name} for name, record in document.items()]
    inner = list(dict.fromkeys(chain.from_iterable(document.values())))
    if _has_roles(document) or _is_wide(document, inner):  # orient="columns"
        return [{name: values.get(row) for name, values in document.items()} for row in inner]
    if _has_roles(inner):  # orient="index"
        return list(document.values())
    if _numbered(inner) and len(inner) > len(document) and all(len(values) == len(inner) for values in document.values()):
        raise UserError(f"{file}: {len(document)} objects with the rows 0 to {len(inner) - 1} in each, as pandas' to_json() "
                        "writes a table; expected it as CSV, or with columns named task, worker and label")
    return _of_peerannot(file, document)


def _has_roles(names):
    """Whether these are the columns of a table with an answer in each row."""
    try:
        roles = find_roles("", [str(name) for name in names]) if len(names) > 2 else None
    except UserError:
        return False
    return roles is not None and roles.worker is not None


def _is_wide(document, inner):
    """Whether an object is a table with a column for each annotator: one for the task, and the rows' numbers in each."""
    task = find_column(list(document), TASK)
    return (task is not None and len(document) > 2 and _numbered(inner)
            and len(set(map(str, document[task].values()))) == len(inner))


def _numbered(names):
    return all(name == str(row) for row, name in enumerate(names))


def _of_peerannot(file, document):
    """The Frame of {task: {worker: label}}; its answers have no lines."""
    column = find_column(list(chain.from_iterable(document.values())), ("label", "labels"))
    if column:
        raise UserError(f"{file}: {column!r} for a worker; {EXPECTED}")
    triples = [(task.strip(), worker.strip(), label) for task, workers in document.items()
               for worker, label in workers.items() if label is not None]
    for task, worker, label in triples:
        if not isinstance(label, str | int | float) or isinstance(label, bool) or str(label).strip() == "":
            raise UserError(f"{file}, task {task!r}, worker {worker!r}: {str(label)[:40]!r}; expected a label")
    table = pd.DataFrame(triples, columns=["task", "worker", "label"], dtype=object)
    return Frame(table.map(str), str(file), unit=None, layout=PEERANNOT)


def _cell(value):
    """A JSON value as the text of a cell."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _frame(file, records, numbers, unit, layout=""):
    table = pd.DataFrame([{str(name): _cell(value) for name, value in record.items()} for record in records], dtype=object)
    return Frame(table.fillna(""), str(file), numbers, unit, layout)


def refuse_objects(file):
    """Raises UserError for a Frame with objects in its first row, which no known tool has written."""
    first = file.table.iloc[0] if isinstance(file, Frame) and len(file.table) else {}
    for name, cell in first.items():
        if str(name).endswith("-metadata") and "class-name" in str(cell):
            raise UserError(f"{file}: SageMaker's output manifest, which has the consolidated labels alone; expected the "
                            "workers' answers: --answers annotations/worker-response/iteration-1/*/*.json")
        if isinstance(cell, str) and re.match(r"\{|\[\s*\{", cell):
            raise UserError(f"{file}: records with objects in {str(name)!r}, of no tool that is known here; expected a "
                            "record for each answer, with task, worker and label")


def _placed(file, unit, number, read, record, of_all):
    """The rows of a record, each with its number. of_all: what the tool's reader is given of all records. Raises UserError,
    with the place, for what the reader refuses."""
    try:
        return [row | {"": number, "question": str(row.get("question", ""))} for row in read(record, of_all)]
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError) as error:
        raise _unreadable(file, unit, number, error) from None


def _unreadable(file, unit, number, error):
    """The UserError for a record that its tool's reader refuses."""
    why = str(error) if type(error) is ValueError else "not as the tool writes it"
    return UserError(f"{file}, {unit} {number}: {why}; expected one label for each answer")


def _answers_of(file, tool, roles, rows, unit, where):
    """The Frame of the rows {task, worker, label, question} of a tool's export; those with SKIP are counted in a notice.
    roles: what is taken for the task and the worker."""
    rows = list(rows)
    for why, count in Counter(row[SKIP] for row in rows if SKIP in row).items():
        echo(f"notice: {file}: {why} are left out: {count} of {len(rows)}")
    rows = [row for row in rows if SKIP not in row]
    if not rows:
        raise UserError(f"{file}: {tool}, without answers; expected at least two annotators who answered")
    rows = _named_tasks(file, tool, rows)
    questions = list(dict.fromkeys(row["question"] for row in rows if row.get("question")))
    words = [re.fullmatch(r"\s*question\s*(!?)=\s*(.*?)\s*", word) for word in where or ()]
    left_out, wanted = ({word[2] for word in words if word and bool(word[1]) == unwanted} for unwanted in (True, False))
    if len(set(questions) - left_out) > 1 and not wanted:
        raise UserError(f"{file}: {tool}, with answers to {len(questions)} questions, {', '.join(questions[:5])}; "
                        f"expected one of them: --where {shlex.quote(f'question={questions[0]}')}")
    counted = (wanted & set(questions) or set(questions)) - left_out
    rows = [row for row in rows if row["question"] in counted] if counted else rows
    for row in rows:
        try:
            row["label"] = one(row["label"])
        except (ValueError, RecursionError) as error:
            raise _unreadable(file, unit, row[""], error) from None
    numbers = np.array([row.pop("") for row in rows])
    named = questions[0] if len(questions) == 1 else "label"
    if all(row.get("worker") in (None, "") for row in rows):
        roles = roles.split(", worker=")[0] + ", worker=the file"
        rows = [{name: value for name, value in row.items() if name != "worker"} for row in rows]
    return _frame(file, rows, numbers, unit, f"{tool}: {roles}, label={named}")


def _named_tasks(file, tool, rows):
    """The rows with the names of the items, see task_names."""
    inputs, ids = ([row.pop(name, None) for row in rows] for name in (INPUT, ID))
    if None in ids:
        return rows
    tasks, workers = ([str(row.get(name, "")) for row in rows] for name in ("task", "worker"))
    names = task_names(f"{file}: {tool}", tasks, workers, inputs, list(map(str, ids)))
    return rows if names is None else [row | {"task": name} for row, name in zip(rows, names, strict=True)]


def task_names(place, tasks, workers, inputs, ids):
    """The names of the items, (L,), where a worker has met one task's name with several inputs: the first id of those with
    the same inputs. None where nobody has: what else differs between copies of an item is not looked at. tasks, workers,
    inputs, ids: (L,)."""
    shown = pd.DataFrame({"task": tasks, "worker": workers, "input": inputs, "id": ids})
    if not shown[["task", "worker", "input"]].drop_duplicates().duplicated(["task", "worker"]).any():
        return None
    several = shown[["task", "input"]].drop_duplicates().duplicated("task").sum()
    echo(f"notice: {place}: {several} tasks have the name of another one, with other inputs; the tasks' ids name the items")
    return shown.groupby(["task", "input"], sort=False)["id"].transform("first").to_numpy()


def zooniverse_table(file, where=()):
    """The Frame of Zooniverse's table of classifications, with JSON in its cells; None for any other table."""
    header = header_of(file)
    if not set(ZOONIVERSE) <= set(header):
        return None
    more = [name for name in ("workflow_name", "workflow_id", "workflow_version", "subject_data") if name in header]
    table, lines = read_columns(file, [*ZOONIVERSE, *more])
    cells = {name: [column.values[code] for code in column.codes] for name, column in table.items()}
    records = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    several = len(set(cells.get("workflow_id", ()))) > 1
    rows = chain.from_iterable(_placed(file, "line", number, _classifications, record, several)
                               for number, record in zip(lines.tolist(), records, strict=True))
    return _answers_of(file, "Zooniverse's export", "task=subject, worker=user_name", rows, "line", where)


def _classifications(record, several):
    """The rows of a record of Zooniverse. several: whether the table has several workflows, whose tasks have equal names."""
    subject = json.loads(record.get("subject_data") or "{}").get(record["subject_ids"], {})
    name = find_column(list(subject), (*CONTENT, "#filename", "#file_name", "#name", "image_name", "name"))
    same = {key: value for key, value in record.items() if key.startswith("workflow")}
    for annotation in json.loads(record["annotations"]):
        if annotation.get("value") in (None, [], ""):
            yield {SKIP: "tasks without a value"}
        else:
            question = f"{record['workflow_id']} {annotation['task']}" if several else annotation["task"]
            yield same | {"task": subject[name] if name and subject[name] else record["subject_ids"],
                          INPUT: record["subject_ids"], ID: record["subject_ids"], "worker": record["user_name"],
                          "label": annotation["value"], "question": question}
