"""The exports of annotation tools in JSON: how a tool's record is known, and the answers that it holds.

Each reader takes a record, and whether all records have the same `label`. It yields {task, worker, label, question}, or
{SKIP: what} for what is no answer. The label may be in lists and objects: `one` is called for the questions that count.
ValueError is raised for what is no label. The task may be shown by a name that others have too: INPUT says then what the
worker saw, and ID names it. TOOLS, at the end, lists the readers.
"""
import json

from common.data.layouts import CONTENT, LABEL, MORE_LABELS, MORE_TASKS, MORE_WORKERS, TASK, WORKER, find_column

SKIP = "left out"  # the key of a row that is none
ON_OFF = {"on": True}, {"on": False}  # of a button
INPUT, ID = "all of the input", "id of the task"


def one(value):
    """The one label in a value, which may be in lists and objects. Raises ValueError where there are several, or none."""
    if isinstance(value, list):
        if len(value) != 1:
            names = ", ".join(str(each)[:30] for each in value[:4])
            raise ValueError(f"{len(value)} labels in one answer ({names or 'none'})")
        return one(value[0])
    if isinstance(value, dict):
        chosen = [name for name, each in value.items() if each is True or each == ON_OFF[0]]
        if value and all(isinstance(each, bool) or each in ON_OFF for each in value.values()):  # {"cat": true, "dog": false}
            return one(chosen)
        for name in ("choice", "choices", "label", "value", "rating", "on"):
            if name in value:
                return one(value[name])
        if len(value) != 1:
            raise ValueError(f"an object of {', '.join(map(str, value))[:80]} where a label should be")
        return one(*value.values())
    if value is None or value == "":
        raise ValueError("nothing where a label should be")
    return value


def item_of(record, *more):
    """The item's name: the first of the keys `more` and CONTENT that holds text or a number."""
    for name in (*more, *CONTENT):
        value = record.get(name)
        if isinstance(value, str | int | float) and value != "" and not str(value).startswith("data:"):
            return value
    texts = [value for value in record.values() if isinstance(value, str) and value and not value.startswith("data:")]
    return texts[0] if texts else ""


def person(value):
    """The name of an annotator, who may be an object."""
    if isinstance(value, dict):
        return next((value[name] for name in ("email", "username", "name", "id") if value.get(name)), "")
    return "" if value is None else value


# --- Label Studio --------------------------------------------------------------------------------------------------

def _is_label_studio(record):
    return isinstance(record.get("data"), dict) and isinstance(record.get("annotations", record.get("completions")), list)


def _label_studio(record, _):
    task = item_of(record["data"]) or record["id"]
    same = {"task": task, INPUT: json.dumps(record["data"], sort_keys=True), ID: record.get("id")}
    for annotation in record.get("annotations", record.get("completions")):
        answers = [(each.get("from_name", ""), each["value"]) for each in annotation["result"] if "value" in each]
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            yield {SKIP: "cancelled annotations"}
        elif annotation.get("ground_truth") and annotation.get("completed_by") is None:
            yield {SKIP: "annotations of the truth"}
        elif not answers:
            yield {SKIP: "annotations without a result"}
        else:
            for question, value in answers:
                found = [value[name] for name in ("choices", "rating", "number") if name in value]
                found += [["/".join(map(str, path)) for path in value["taxonomy"]]] if "taxonomy" in value else []
                yield same | {"worker": person(annotation.get("completed_by")), "label": found[0],
                              "question": question} if found else {SKIP: "regions and texts, which are no classes,"}


# --- Prodigy --------------------------------------------------------------------------------------------------------

def _is_prodigy(record):
    return "_task_hash" in record or "answer" in record and ("accept" in record or "_session_id" in record)


def _prodigy(record, same_label):
    shown = [{name: each[name] for name in CONTENT if name in each} for each in (record, record.get("meta") or {})]
    task = item_of(shown[0]) or item_of(shown[1]) or record["_input_hash"]
    row = {"task": task, INPUT: record.get("_input_hash", task), ID: record.get("_input_hash", task),
           "worker": person(record.get("_annotator_id") or record.get("_session_id"))}
    answer = record.get("answer", "accept")
    if record.get("spans"):
        raise ValueError("spans of a text or an image, which are not classes")
    if "accept" not in record and "label" in record and same_label:
        if answer == "ignore":
            yield {SKIP: "ignored tasks"}
        else:
            yield row | {"label": answer}  # one question for all: yes or no
    elif answer != "accept":
        yield {SKIP: "rejected and ignored tasks"}
    elif record.get("accept") == []:
        yield {SKIP: "tasks without a choice"}
    else:
        yield row | {"label": record.get("accept", record.get("label"))}


# --- Argilla --------------------------------------------------------------------------------------------------------

def _is_argilla(record):
    return ("responses" in record and "fields" in record) or any(name.endswith(".responses") for name in record)


def _argilla(record, _):
    task = item_of(record, "external_id", "id") if "id" in record else item_of(record.get("fields", record))
    for question, response in _responses(record):
        if response.get("status") in ("discarded", "draft"):
            yield {SKIP: "discarded responses and drafts"}
        elif response.get("value") is not None:
            yield {"task": task, "worker": person(response.get("user_id") or response.get("user")),
                   "label": response["value"], "question": question}


def _responses(record):
    """Yields (question, {user_id, value, status}) of any of Argilla's three forms."""
    responses = record.get("responses")
    if isinstance(responses, dict):  # version 2: {question: [{value, user_id}]}
        for question, given in responses.items():
            yield from ((question, each) for each in given)
    elif isinstance(responses, list):  # version 1: [{user_id, status, values: {question: {value}}}]
        for each in responses:
            for question, value in (each.get("values") or {}).items():
                yield question, value | {"user_id": each.get("user_id"), "status": each.get("status")}
    for name in record:  # as a data set: question.responses, question.responses.users, .status
        if name.endswith(".responses"):
            values = record[name] or []
            users, status = (record.get(f"{name}.{more}") or [None] * len(values) for more in ("users", "status"))
            for value, user, state in zip(values, users, status, strict=True):
                yield name.removesuffix(".responses"), {"value": value, "user_id": user, "status": state}


# --- a list of answers for each item, of no tool ------------------------------------------------------------------------

PERSON, ANSWER = (*WORKER, *MORE_WORKERS), (*LABEL, *MORE_LABELS)
PEOPLE, GIVEN = (tuple(f"{name}s" for name in names) for names in (PERSON, ANSWER))


def _columns_of_lists(record):
    """(people, labels): the names of two lists, as annotator_ids and annotations; None for the people where the labels'
    list is of objects with both. None where there is neither, or the record has one annotator."""
    if find_column([name for name, value in record.items() if not isinstance(value, list)], WORKER):
        return None
    lists = [name for name, value in record.items() if isinstance(value, list) or value is None]
    people, labels = find_column(lists, PEOPLE), find_column(lists, GIVEN)
    if people and labels:
        return people, labels
    if not labels:
        return None
    objects = record[labels] or []
    if not all(isinstance(each, dict) and find_column(list(each), PERSON) for each in objects):
        return None
    of_doccano = objects and _is_doccano(record) and "user" in objects[0]
    answered = not objects or any(find_column(list(each), ANSWER) for each in objects)
    return (None, labels) if answered and not of_doccano else None


def _has_lists(record):
    return _columns_of_lists(record) is not None


def _of_lists(record, _):
    people, labels = _columns_of_lists(record)
    if people:
        given = record[people] or [], record[labels] or []
    else:
        given = ([each.get(find_column(list(each), names)) for each in record[labels] or []] for names in (PERSON, ANSWER))
    return _given(record, *given, (people, labels))


def _given(record, workers, labels, names):
    """Yields the answers to a record's item, of which there may be none for some of the workers. names: those of the two
    lists, for errors."""
    if len(workers) != len(labels):
        raise ValueError(f"{len(workers)} in {names[0]!r} and {len(labels)} in {names[1]!r}")
    plain = {name: value for name, value in record.items() if isinstance(value, str | int | float) and value != ""}
    name = find_column(list(plain), (*TASK, "uid", *MORE_TASKS))
    task = item_of(plain) if name is None else plain[name]
    yield from ({"task": task, "worker": person(worker), "label": label}
                for worker, label in zip(workers, labels, strict=True) if label not in (None, ""))


# --- LeWiDi (the shared tasks "Learning with Disagreements"), 2023 and 2025 ---------------------------------------------

def _is_lewidi(record):
    return isinstance(record.get("annotators"), str) and isinstance(record.get("annotations"), str | dict)


def _lewidi(record, _):
    workers, given = [name.strip() for name in record["annotators"].split(",")], record["annotations"]
    labels = [given.get(worker) for worker in workers] if isinstance(given, dict) else [
        label.strip() for label in given.split(",")]
    return _given(record, workers, labels, ("annotators", "annotations"))


# --- doccano --------------------------------------------------------------------------------------------------------

def _is_doccano(record):
    labels = record.get("label", record.get("labels", record.get("annotations")))
    return isinstance(labels, list) and ("text" in record or "filename" in record or "data" in record) and "id" in record


def _doccano(record, _):
    task = item_of(record, "filename", "id")
    if isinstance(record.get("annotations"), list):  # version 0: [{label, user}]
        for each in record["annotations"]:
            yield {"task": task, "worker": person(each["user"]), "label": each["label"]}
        return
    labels = record.get("label", record.get("labels"))
    worker = person(next((record[name] for name in ("annotator", "user", "username") if record.get(name)), None))
    if labels and isinstance(labels[0], list):
        raise ValueError("spans of a text, which are not classes")
    yield {"task": task, "worker": worker, "label": labels} if labels else {SKIP: "examples without a label"}


# (the tool, whether a record is its, the record's reader, what is taken for the task and the worker)
TOOLS = (("Label Studio's export", _is_label_studio, _label_studio, "task=data, worker=completed_by"),
         ("Prodigy's export", _is_prodigy, _prodigy, "task=image or text, worker=_annotator_id or _session_id"),
         ("Argilla's export", _is_argilla, _argilla, "task=id, worker=user_id"),
         ("LeWiDi's JSON", _is_lewidi, _lewidi, "task=item, worker=annotators"),
         ("a list of answers for each item", _has_lists, _of_lists, "task=item, worker=in the list"),
         ("doccano's export", _is_doccano, _doccano, "task=filename or id, worker=user"))
