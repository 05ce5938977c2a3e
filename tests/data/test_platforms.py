"""The exports of platforms with all answers to an item in one record, as they write them."""
import json

import pytest

from common.data.answers import read_answers
from common.system.errors import UserError
from test_layouts import CROWD, by_item, triples


def ndjson(write, records, name="export.ndjson"):
    return write("\n".join(map(json.dumps, records)) + "\n", name)


def labelbox(classifications, worker="ann", **more):
    return {"label_details": {"created_by": worker},
            "annotations": {"objects": [], "classifications": classifications}} | more


def radio(label, question="Animal?"):
    return {"name": question, "value": "animal", "radio_answer": {"name": label, "value": label.lower()}}


def test_labelbox(write, capsys):
    records = [{"data_row": {"id": f"x{task}", "external_id": task, "row_data": "https://a/b"},
                "projects": {"p": {"labels": [labelbox([radio(label)], worker) for worker, label in given]}}}
               for task, given in by_item().items()]
    assert triples(read_answers(ndjson(write, records))) == sorted(CROWD)
    labels = records[0]["projects"]["p"]["labels"]
    labels += [labelbox([], "cy"), labelbox([radio("dog")], "cy", performance_details={"skipped": True}),
               labelbox([{"name": "Note", "text_answer": {"content": "x"}}], "cy")]
    assert triples(read_answers(ndjson(write, records))) == sorted(CROWD)
    said = capsys.readouterr().out
    assert "skipped labels are left out: 1 of 9" in said and "labels without a classification are left out" in said
    labels.append(labelbox([radio("no", "Blurred?")]))
    with pytest.raises(UserError, match="answers to 2 questions, Animal\\?, Blurred\\?; .*: --where 'question=Animal\\?'"):
        read_answers(ndjson(write, records))
    assert triples(read_answers(ndjson(write, records), where=["question=Animal?"])) == sorted(CROWD)
    labels[-1] = labelbox([{"name": "Tags", "checklist_answers": [{"name": "cat"}, {"name": "dog"}]}])
    assert triples(read_answers(ndjson(write, records), where=["question=Animal?"])) == sorted(CROWD)
    labels[-1] = labelbox([{"name": "Animal?", "checklist_answers": [{"name": "cat"}, {"name": "dog"}]}])
    with pytest.raises(UserError, match="line 1: 2 labels in one answer \\(cat, dog\\)"):
        read_answers(ndjson(write, records))


def test_kili(write, capsys):
    def label(worker, name, **more):
        return {"author": {"id": f"x{worker}", "email": worker}, "jsonResponse": {"JOB_0": {"categories": [{"name": name}]}},
                "isLatestLabelForUser": True, "labelType": "DEFAULT"} | more
    records = [{"id": f"x{task}", "externalId": task, "content": "", "jsonMetadata": {},
                "labels": [label(*each) for each in given]} for task, given in by_item().items()]
    records[0]["labels"] += [label("ann", "owl", isLatestLabelForUser=False), label("model", "owl", labelType="PREDICTION"),
                             label("cy", "owl", jsonResponse={})]
    assert triples(read_answers(write(json.dumps(records), "data.json"))) == sorted(CROWD)
    said = capsys.readouterr().out
    assert all(why in said for why in ("predictions, drafts and reviews", "have replaced", "without a category"))


def test_sagemaker(write, tmp_path):
    def answers(given, shape):
        return [{"workerId": worker, "annotationData": {"content": json.dumps({"animal": shape(label)})}}
                for worker, label in given]
    shapes = (lambda label: {"label": label}, lambda label: {name: {"on": name == label} for name in ("cat", "dog")},
              lambda label: {name: name == label for name in ("cat", "dog")})
    for shape in shapes:
        consolidation = [{"datasetObjectId": str(k), "dataObject": {"s3Uri": f"s3://b/{task}"},
                          "annotations": answers(given, shape)} for k, (task, given) in enumerate(by_item().items())]
        assert triples(read_answers(write(json.dumps(consolidation), "request.json"))) == sorted(CROWD)
    manifest = [{"source-ref": f"s3://b/{task}", "job": {"annotationsFromAllWorkers": answers(given, shapes[0])},
                 "job-metadata": {"type": "groundtruth/custom"}} for task, given in by_item().items()]
    assert triples(read_answers(ndjson(write, manifest))) == sorted(CROWD)
    files = []
    for task, given in by_item().items():
        (tmp_path / "iteration-1" / task).mkdir(parents=True)
        files.append(write(json.dumps({"answers": [
            {"workerId": worker, "answerContent": {"crowd-image-classifier": {"label": label}}, "timeSpentInSeconds": 4}
            for worker, label in given]}), f"iteration-1/{task}/2025-02-27.json"))
    assert triples(read_answers(files)) == sorted(CROWD)
    with pytest.raises(UserError, match="the consolidated labels alone; expected the workers' answers"):
        read_answers(ndjson(write, [{"source-ref": "s3://b/a", "job": 1, "job-metadata": {"class-name": "cat"}}] * 2))


def test_potato(write, tmp_path):
    people = {worker: {task: label for task, w, label in CROWD if w == worker} for worker in ("ann", "bob")}
    shapes = (lambda label: [[{"schema": "animal", "name": label}, True]],
              lambda label: [[{"schema": "animal", "name": label}, label]], lambda label: {"animal": {label: "true"}})
    for shape in shapes:
        files = [write(json.dumps({"user_id": worker, "instance_id_to_label_to_value": {
            task: shape(label) for task, label in given.items()}}), f"{worker}.json") for worker, given in people.items()]
        assert triples(read_answers(files)) == sorted(CROWD)
    files = []
    for worker, given in people.items():
        (tmp_path / worker).mkdir()
        records = [{"id": task, "displayed_text": "x", "label_annotations": {"animal": {label: "true"}}}
                   for task, label in given.items()]
        files.append(ndjson(write, records, f"{worker}/annotated_instances.jsonl"))
    answers = read_answers(files)
    assert sorted((task, worker.partition("/")[0], label) for task, worker, label in triples(answers)) == sorted(CROWD)


def test_lists_of_answers_by_worker_ids_are_of_no_platform(write):
    records = [{"task": task, "annotations": [{"workerId": worker, "label": label} for worker, label in given]}
               for task, given in by_item().items()]
    assert triples(read_answers(ndjson(write, records))) == sorted(CROWD)


def test_an_item_of_its_own_file_keeps_its_name(write):
    files = [write(json.dumps({"id": task, "annotators": [worker for worker, _ in given],
                               "answers": [label for _, label in given]}), f"{k}.json")
             for k, (task, given) in enumerate(by_item().items())]
    assert triples(read_answers(files)) == sorted(CROWD)


def test_labels_of_other_tools(write):
    records = [{"externalId": "a", "labels": [None]}, {"externalId": "b", "labels": []}]
    with pytest.raises(UserError, match="data.json, record 2: '.*' has 0 labels in one answer"):
        read_answers(write(json.dumps(records), "data.json"))


def test_potato_scales_and_texts(write):
    def state(worker, given):
        return write(json.dumps({"user_id": worker, "instance_id_to_label_to_value": given}), f"{worker}.json")
    files = [state("ann", {"a": {"sure": {"scale_1": "1"}, "why": {"text_box": "it is"}}, "b": {"sure": {"scale_2": "2"}}}),
             state("bob", {"a": {"sure": {"scale_2": "2", "scale_1": "false"}, "why": {"text_box": ""}},
                           "b": {"sure": {"scale_2": "2"}}})]
    answers = read_answers(files, where=["question=sure"])
    assert answers.classes == ["scale_1", "scale_2"] and len(answers) == 4


def test_xml_is_refused(write):
    with pytest.raises(UserError, match="XML or HTML, which is not read; expected a table of task,worker,label"):
        read_answers(write('<?xml version="1.0" encoding="utf-8"?>\n<annotations></annotations>\n', "annotations.xml"))
