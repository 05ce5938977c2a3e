"""The exports of annotation platforms in JSON, with all answers to an item in one record: as in tools.py."""
import json

from common.data.tools import SKIP, item_of, person

TYPED = ("text_box", "number", "slider")  # names of Potato's fields that have a value; others are options


# --- Labelbox -------------------------------------------------------------------------------------------------------

def _is_labelbox(record):
    return isinstance(record.get("data_row"), dict) and isinstance(record.get("projects"), dict)


def _labelbox(record, _):
    task = item_of(record["data_row"], "external_id", "global_key", "row_data", "id")
    for project in record["projects"].values():
        for label in project["labels"]:
            if (label.get("performance_details") or {}).get("skipped"):
                yield {SKIP: "skipped labels"}
                continue
            classifications = label["annotations"].get("classifications")
            if not classifications:
                yield {SKIP: "labels without a classification"}
            for each in classifications or ():
                answer = each.get("radio_answer") or each.get("checklist_answers")
                if answer:
                    options = answer if isinstance(answer, list) else [answer]
                    yield {"task": task, "worker": label["label_details"].get("created_by"), "question": each["name"],
                           "label": [option["name"] for option in options]}
                else:
                    yield {SKIP: "texts, which are no classes,"}


# --- Kili -----------------------------------------------------------------------------------------------------------

def _is_kili(record):
    return "externalId" in record and isinstance(record.get("labels"), list) and all(
        isinstance(label, dict) and "jsonResponse" in label for label in record["labels"])


def _kili(record, _):
    for label in record["labels"]:
        jobs = {job: found["categories"] for job, found in label["jsonResponse"].items() if found.get("categories")}
        if label.get("labelType", "DEFAULT") != "DEFAULT":
            yield {SKIP: "predictions, drafts and reviews"}
        elif label.get("isLatestLabelForUser") is False:
            yield {SKIP: "labels that their authors have replaced"}
        elif not jobs:
            yield {SKIP: "labels without a category"}
        else:
            for job, categories in jobs.items():
                yield {"task": record["externalId"], "worker": person(label.get("author")), "question": job,
                       "label": [each["name"] for each in categories]}


# --- Amazon SageMaker Ground Truth -------------------------------------------------------------------------------------

def _workers_of(record):
    """The list of the workers' answers, or None: in an output manifest of a custom job, in the input of a consolidation
    function, or in a file of worker-response, whose task is the folder's name."""
    lists = [record.get("answers"), record.get("annotations"),
             *(each.get("annotationsFromAllWorkers") for each in record.values() if isinstance(each, dict))]
    return next((answers for answers in lists if isinstance(answers, list) and answers and all(
        isinstance(each, dict) and "workerId" in each and each.keys() & {"answerContent", "annotationData"}
        for each in answers)), None)


def is_sagemaker(record):
    """Whether a record has the answers of SageMaker Ground Truth's workers."""
    return _workers_of(record) is not None


def _sagemaker(record, _):
    shown = record.get("dataObject") or record
    task = item_of(shown, "source-ref", "s3Uri", "source", "task", "content", "datasetObjectId")
    for each in _workers_of(record):
        answer = each["answerContent"] if "answerContent" in each else each["annotationData"]["content"]
        answer = json.loads(answer) if isinstance(answer, str) else answer
        for question, value in answer.items():
            yield {"task": task, "worker": each["workerId"], "question": question, "label": value}


# --- Potato ---------------------------------------------------------------------------------------------------------

POTATO = "instance_id_to_label_to_value"


def _is_potato(record):
    given = record.get(POTATO, record.get("label_annotations", ""))
    return isinstance(given, dict) or given is None


def _potato(record, _):
    given = record[POTATO] if POTATO in record else {record["id"]: record["label_annotations"] or {}}
    for task, schemas in (given or {}).items():
        if isinstance(schemas, list):  # [[{schema, name}, value]]
            schemas, pairs = {}, schemas
            for place, value in pairs:
                schemas.setdefault(place["schema"], {})[place["name"]] = value
        for question, options in schemas.items():
            chosen = [value if name in TYPED else name for name, value in options.items()
                      if str(value).lower() not in ("none", "", "false")]
            yield ({"task": task, "worker": record.get("user_id"), "question": question, "label": chosen} if chosen
                   else {SKIP: "questions without an answer"})


PLATFORMS = (("Labelbox's export", _is_labelbox, _labelbox, "task=external_id, worker=created_by"),
             ("Kili's export", _is_kili, _kili, "task=externalId, worker=author"),
             ("SageMaker Ground Truth's answers", is_sagemaker, _sagemaker, "task=source-ref or folder, worker=workerId"),
             ("Potato's annotations", _is_potato, _potato, "task=id, worker=user_id"))
