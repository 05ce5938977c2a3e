"""The layouts of answers that tools, spreadsheets and pandas write: each read as the same crowd, or refused."""
import gzip
import io
import json
import re
import sys
import zipfile

import pandas as pd
import pytest

from common.data import workbooks
from common.data.answers import read_answers, read_labels
from common.data.item_names import AMBIGUOUS, FILE_NAMES, find_items
from common.data.tables import Frame
from common.system.errors import UserError

CROWD = [("a.png", "ann", "cat"), ("a.png", "bob", "dog"), ("b.png", "ann", "dog"), ("c.png", "ann", "cat"),
         ("c.png", "bob", "cat"), ("b.png", "bob", "dog")]
TABLE = pd.DataFrame(CROWD, columns=["task", "worker", "label"])


def triples(answers):
    return sorted((answers.items[i].rpartition("/")[2], answers.annotators[a], answers.classes[c])
                  for i, a, c in zip(answers.item, answers.annotator, answers.label, strict=True))


def table(header, row, more="", of=None):
    """The crowd, or one annotator's part `of` it, as CSV: `row` is a format of task, worker and label; `more`, further
    lines."""
    return header + "\n" + "".join(row.format(t=t, w=w, c=c) + "\n" for t, w, c in CROWD if of in (None, w)) + more


def by_item():
    return {task: [(worker, label) for t, worker, label in CROWD if t == task] for task in ("a.png", "b.png", "c.png")}


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


def label_studio():
    return json.dumps([{"id": k, "data": {"image": f"/data/upload/3/3f2a9b1c-{task}"}, "annotations": [
        {"id": 1, "completed_by": {"id": 4, "email": worker}, "was_cancelled": False, "result": [
            {"type": "choices", "from_name": "animal", "to_name": "image", "value": {"choices": [label]}}]}
        for worker, label in given] + [{"completed_by": 9, "was_cancelled": True, "result": []}]}
        for k, (task, given) in enumerate(by_item().items())])


def zipped(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("__MACOSX/._answers.csv", "")
        for name in names:
            archive.writestr(name, TABLE.to_csv(index=False))
    return content.getvalue()


LAYOUTS = {
    "coder": table("unit,coder,code", "{t},{w},{c}"),
    "zip": zipped("folder/answers.csv"),
    "pandas columns": TABLE.to_json(),
    "pandas records": TABLE.to_json(orient="records"),
    "pandas split": TABLE.to_json(orient="split"),
    "pandas index": TABLE.to_json(orient="index"),
    "pandas table": TABLE.to_json(orient="table", index=False),
    "pandas lines": TABLE.to_json(orient="records", lines=True),
    "pandas columns, wide": TABLE.pivot(index="task", columns="worker", values="label").reset_index().to_json(),
    "one label in a list": lines({"task": t, "worker": w, "label": [c]} for t, w, c in CROWD),
    "one label in JSON": table("task;worker;label", '{t};{w};"[""{c}""]"'),
    "people in rows": "annotator,a.png,b.png,c.png\nann,cat,dog,cat\nbob,dog,dog,cat\n",
    "people in rows without a name": ",a.png,b.png,c.png\nann,cat,dog,cat\nbob,dog,dog,cat\n",
    "a column of gold": "task,ann,bob,gold,mv\na.png,cat,dog,cat,cat\nb.png,dog,dog,dog,dog\nc.png,cat,cat,cat,cat\n",
    "Label Studio": label_studio(),
    "Label Studio's CSV": table("annotation_id,annotator,created_at,id,image,lead_time,animal",
                                "1,{w},2026-01-01,7,/data/upload/3/3f2a9b1c-{t},1.5,{c}"),
    "Prodigy": lines([{"image": t, "options": [{"id": "cat"}, {"id": "dog"}], "accept": [c], "answer": "accept",
                       "_task_hash": 1, "_session_id": w} for t, w, c in CROWD]
                     + [{"image": "a.png", "accept": [], "answer": "ignore", "_task_hash": 1, "_session_id": "cas"}]),
    "doccano": lines({"id": t, "text": "words", "label": [c], "username": w} for t, w, c in CROWD),
    "doccano, version 0": lines({"id": t, "text": "words", "annotations": [{"label": c, "user": w} for w, c in given]}
                                for t, given in by_item().items()),
    "Argilla": json.dumps([{"id": t, "fields": {"text": "words"}, "responses": {"animal": [
        {"value": c, "user_id": w} for w, c in given]}} for t, given in by_item().items()]),
    "Argilla, version 1": json.dumps([{"id": t, "fields": {"text": "words"}, "responses": [
        {"user_id": w, "status": "submitted", "values": {"animal": {"value": c}}} for w, c in given]}
        for t, given in by_item().items()]),
    "Argilla, as a data set": lines({"id": t, "animal.responses": [c for _, c in given], "animal.responses.users": [
        w for w, _ in given]} for t, given in by_item().items()),
    "Mechanical Turk": table('HITId,WorkerId,AssignmentStatus,Input.image_url,Input.size,Answer.animal,Approve,Reject',
                             "H,{w},Approved,https://e.org/{t},9,{c},x,",
                             "H,cas,Rejected,https://e.org/a.png,9,dog,,\nH,cas,Submitted,https://e.org/b.png,9,dog,,no\n"),
    "Toloka": table("INPUT:image,OUTPUT:result,GOLDEN:result,ASSIGNMENT:worker_id,ASSIGNMENT:status",
                    "https://e.org/{t},{c},,{w},APPROVED\n,,,,",
                    "https://e.org/a.png,dog,,cas,REJECTED\n").replace(",", "\t"),
    "Appen": table("_unit_id,_worker_id,_tainted,animal,image_url,animal_gold", "1,{w},false,{c},http://e.org/{t},",
                   "1,cas,true,dog,http://e.org/a.png,\n"),
    "Zooniverse": pd.DataFrame([(k, w, 5, json.dumps([{"task": "T0", "value": c}]), json.dumps({"5": {"Filename": t}}))
                                for k, (t, w, c) in enumerate(CROWD)], columns=[
        "classification_id", "user_name", "subject_ids", "annotations", "subject_data"]).to_csv(index=False),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_holds_the_same_crowd(write, layout, capsys):
    answers = read_answers(write(LAYOUTS[layout]))
    assert triples(answers) == sorted(CROWD) and answers.classes == ["cat", "dog"]
    said = capsys.readouterr().out
    assert "warning" not in said
    if layout in ("Mechanical Turk", "Toloka", "Appen", "Label Studio", "Prodigy", "a column of gold"):
        assert "left out" in said
    kind = {"people in rows": "a row for each annotator", "people in rows without a name": "a row for each annotator",
            "pandas columns, wide": "a column for each annotator", "a column of gold": "a column for each annotator"}
    tool = layout.split(",")[0].split("'")[0]
    tool = tool if layout[0].isupper() or tool == "doccano" else kind.get(layout, "long table")
    assert answers.describe().startswith(tool) and answers.describe().endswith("; 3 items, 2 annotators, 2 classes")


def test_a_wide_table_s_truth(write):
    names, labels, _ = read_labels(write(LAYOUTS["a column of gold"]), ["cat", "dog"], "no answer has")
    assert names == ["a.png", "b.png", "c.png"] and labels.tolist() == [0, 1, 0]


def test_what_was_taken_for_what(write):
    answers = read_answers(write(LAYOUTS["coder"]))
    assert answers.describe() == "long table: task=unit, worker=coder, label=code; 3 items, 2 annotators, 2 classes"


def test_a_file_for_each_annotator(write):
    files = [write("".join(["task,label\n", *(f"{t},{c}\n" for t, w, c in CROWD if w == name)]), f"{name}.csv")
             for name in ("ann", "bob")]
    answers = read_answers(files)
    assert triples(answers) == sorted(CROWD) and answers.place(3).endswith("bob.csv, line 2")
    doccano = [write(lines({"id": t, "text": "words", "label": [c]} for t, w, c in CROWD if w == name), f"{name}.jsonl")
               for name in ("ann", "bob")]
    assert triples(read_answers(doccano)) == sorted(CROWD)
    halves = [write(TABLE[part].to_csv(index=False), f"{k}.csv") for k, part in enumerate((slice(0, 3), slice(3, 6)))]
    assert triples(read_answers(halves)) == sorted(CROWD)
    with pytest.raises(UserError, match="none for the worker; .*a file for each annotator: --answers ann.csv bob.csv"):
        read_answers(files[:1])


def test_a_file_for_each_annotator_with_several_questions(write):
    files = [write("".join(["image,animal,size\n", *(f"{t},{c},big\n" for t, w, c in CROWD if w == name)]), f"{name}.csv")
             for name in ("ann", "bob")]
    with pytest.raises(UserError, match="bob.csv: 3 of its 3 items are in other files too, with the same columns, animal, "
                                        "size; .*--columns TASK animal; "):
        read_answers(files, classes=["cat", "dog", "big"])
    assert triples(read_answers(files, columns=["image", "animal"])) == sorted(CROWD)
    with pytest.raises(UserError, match="--columns image animal: expected TASK WORKER LABEL, or TASK LABEL with several"):
        read_answers(files[:1], columns=["image", "animal"])
    halves = [write(f"task,ann,bob\n{rows}", f"{k}.csv") for k, rows in enumerate(
        ("a.png,cat,dog\nb.png,dog,dog\n", "c.png,cat,cat\n"))]
    assert triples(read_answers(halves)) == sorted(CROWD)  # the same people, other items
    again = write("task,ann,bob\nb.png,dog,dog\n", "again.csv")
    assert triples(read_answers([*halves, again])) == sorted(CROWD)  # one of them a second time


def test_forms_have_a_row_for_each_annotator(write, capsys):
    people = "".join(f"2026/11/{day} 9:00,{name}@e.org," + ",".join(f"{c}" for t, w, c in sorted(CROWD) if w == name) + "\n"
                     for day, name in ((3, "ann"), (4, "bob")))
    answers = read_answers(write("Timestamp,Email Address,a.png,b.png,c.png\n" + people))
    assert triples(answers) == sorted((t, f"{w}@e.org", c) for t, w, c in CROWD)
    assert "column 'Timestamp' is left out" in capsys.readouterr().out
    more = read_answers(write("Timestamp,Email,Age,a.png,b.png,c.png\n" + re.sub("(@e.org)", r"\1,33", people)))
    assert triples(more) == triples(answers)
    items = read_answers(write("timestamp,id,ann,bob\n1,a.png,cat,dog\n2,b.png,dog,dog\n3,c.png,cat,cat\n"))
    assert triples(items) == sorted(CROWD)
    with pytest.raises(UserError, match="named: --columns Name --questions a.png b.png c.png, or the items in a"):
        read_answers(write("Timestamp,Name,a.png,b.png,c.png\n" + people))
    with pytest.raises(UserError, match="each row .* --columns Timestamp --questions 'Which animal\\?' 'And this\\?', or"):
        read_answers(write("Timestamp,Which animal?,And this?\n9:00,cat,dog\n9:01,cat,cat\n"))


def test_some_rows_alone(write, capsys):
    content = table("task,worker,label,round", "{t},{w},{c},2", "a.png,cas,dog,1\nb.png,cas,dog,3\n")
    assert triples(read_answers(write(content), where=["round=2"])) == sorted(CROWD)
    assert len(read_answers(write(content), where=["round=2", "round=1", "worker=cas", "worker=ann"])) == 4
    unsure = table("task,worker,label", "{t},{w},{c}", "a.png,cas,unsure\nb.png,cas,unsure\n")
    assert triples(read_answers(write(unsure), where=["label!=unsure"])) == sorted(CROWD)
    capsys.readouterr()
    assert len(read_answers(write(unsure)).classes) == 3
    said = capsys.readouterr().out
    assert "'unsure' is a class, of 2 answers; if it is none, --where COLUMN!='unsure' leaves them out" in said
    for words, message in ((["turn=2"], "--where turn=2: .* no column 'turn'; it has task, worker, label, round"),
                           (["round"], "--where round: expected COLUMN=VALUE"),
                           (["round=7"], "--where round=7: no row of .*; column 'round' has 1, 2, 3")):
        with pytest.raises(UserError, match=message):
            read_answers(write(content), where=words)
    wide = "task,batch,ann,bob\na,1,cat,dog\nb,1,dog,dog\nc,2,cat,cat\n"
    assert len(read_answers(write(wide), where=["batch=1"])) == len(read_answers(write(wide), where=["batch =1"])) == 4
    two = json.dumps([{"id": 1, "data": {"text": t}, "annotations": [{"completed_by": w, "result": [
        {"from_name": name, "value": {"choices": [c]}} for name, c in (("animal", c), ("size", "big"))]}]}
        for t, w, c in CROWD])
    for words in ("question=animal", "question = animal", "question!=size"):
        assert triples(read_answers(write(two), where=[words])) == sorted(CROWD)
    with pytest.raises(UserError, match="answers to 2 questions, animal, size; .*: --where question=animal"):
        read_answers(write(two))


def many(label, items=30):
    return "task,worker,label\n" + "".join(f"i{k},{w},{label(k)}\n" for k in range(items) for w in ("ann", "bob"))


@pytest.mark.parametrize("content, message", [
    ("\n".join(",".join(row) for row in CROWD), "line 1: 'a.png' stands in the rows below too, so there is no header"),
    ("1,2,1\n1,3,2\n2,2,1\n", "line 1: two columns are named '1'; expected a header: a first line of names"),
    ("task,worker,label\n1.58292E+18,ann,cat\n", "'1.58292E[+]18' is a number that a spreadsheet or"),
    ("task,worker,label\na,1.5e+09,cat\n", "worker '1.5e[+]09' is a number that a spreadsheet or"),
    (table("task;worker;label", '{t};{w};{c}', 'd.png;ann;"cat,dog"\n'), "line 8: 'cat,dog', which are 2 labels in"),
    (table("task;worker;label", '{t};{w};{c}', 'd.png;ann;"[""cat"", ""dog""]"\n'), "line 8: .* has 2 labels in one answer"),
    (table("task;worker;label", '{t};{w};{c}', "d.png;ann;['cat', 'dog']\n"), "line 8: .* has 2 labels in one answer"),
    (many(lambda k: k / 7), "the labels are 2. different numbers with decimals, .*: measurements, not classes"),
    (many(lambda k: f"text {k}") + "".join(f"i0,c{k},other {k}\n" for k in range(30)),
     "60 classes of 30 items; expected fewer classes than items"),
    (json.dumps({"ann": dict.fromkeys("0123", "cat"), "bob": dict.fromkeys("0123", "dog")}), "as pandas' to_json"),
    ('{"task": "a", "worker": "ann", "label": "cat"}\n{"task": "a", "worker"\n', "line 2: not JSON .* on each line"),
    (lines({"id": t, "text": "words", "label": [[0, 3, "PER"]]} for t, _, _ in CROWD), "line 1: spans of a text"),
    (lines({"id": t, "text": "words", "label": ["cat", "dog"]} for t, _, _ in CROWD), "2 labels in one answer .cat, dog"),
    (table("HITId,WorkerId,Input.image,Answer.animal,Answer.size", "H,{w},{t},{c},big"),
     "Turk's table, where columns Answer.animal, Answer.size may each be the label; expected one, .*--columns Input"),
    (zipped("ann.csv", "bob.csv"), "a zip archive of 2 files .ann.csv, bob.csv.; expected one table in it: unpack it"),
    (b"PK\x03\x04 broken", "a zip archive that cannot be read"),
    (b"PAR1 broken", "a Parquet table that cannot be read"),
])
def test_refused_with_the_reason(write, content, message):
    with pytest.raises(UserError, match=message):
        read_answers(write(content))


def test_names_that_are_the_same(write, capsys):
    """Numbers with and without zeros behind the point; one name in two Unicode forms."""
    answers = read_answers(write("task,worker,label\n1,1,1\n1.0,2,1.0\n2,1.0,1.5\n2,2,2.0\n3,Jose\u0301,2\n3,Jos\u00e9,2\n"),
                           duplicates="count")
    assert answers.classes == ["1", "1.5", "2"] and answers.items == ["1", "2", "3"]
    assert answers.annotators == ["1", "2", "Jos\u00e9"]
    assert read_answers(write("task,worker,label\na,x,0\nb,x,1\na,y,0\n"), classes=["0.0", "1.0"]).classes == ["0", "1"]
    capsys.readouterr()
    read_answers(write(table("task,worker,label", "{t},{w},1\n{t}2,{w},01")))
    assert "'01' and '1' are two classes; is one of them misspelt?" in capsys.readouterr().out.replace(
        "'1' and '01'", "'01' and '1'")


def test_names_with_zeros_before_them_are_a_warning(write, capsys):
    read_answers(write(table("task,worker,label", "{t},{w},{c}", "a.png,7,cat\na.png,07,cat\n")))
    assert "'7' and '07' are two annotators; is one of them miswritten?" in capsys.readouterr().out


def test_more_annotators_than_items_are_a_warning(write, capsys):
    read_answers(write("task,a,b,c\n1,x,y,x\n2,x,y,y\n"))
    assert "3 annotators of 2 items; are the columns the right ones?" in capsys.readouterr().out


def nested(form):
    """Records with the answers of each item in lists."""
    for task, given in by_item().items():
        people, labels = map(list, zip(*given, strict=True))
        yield {"uid": task, "text": "words"} | {
            "lists": {"annotations": labels, "annotator_ids": people},
            "objects": {"annotations": [{"annotator": w, "label": c} for w, c in given]},
            "Argilla": {"id": task, "animal.responses": labels, "animal.responses.users": people}}[form]


@pytest.mark.parametrize("form", ["lists", "objects", "Argilla"])
def test_lists_in_cells(write, form):
    records = list(nested(form))
    assert triples(read_answers(write(lines(records)))) == sorted(CROWD)
    frame = pd.DataFrame(records)
    assert triples(read_answers(Frame(frame, "answers"))) == sorted(CROWD)
    pytest.importorskip("pyarrow")
    content = io.BytesIO()
    frame.to_parquet(content)
    assert triples(read_answers(write(content.getvalue(), "answers.parquet"))) == sorted(CROWD)


def test_lists_beside_an_answer_in_each_record(write):
    records = [{"task": t, "worker": w, "label": c, "annotators": ["x", "y"], "labels": [c, "cow"]} for t, w, c in CROWD]
    assert triples(read_answers(write(json.dumps(records)))) == sorted(CROWD)
    frame = pd.DataFrame(records).assign(image=[{"bytes": b"\x89PNG\xff", "path": "0.png"}] * 6, seen=True)
    assert triples(read_answers(Frame(frame, "answers"), where=["seen=True"])) == sorted(CROWD)


def test_items_and_annotators_named_zero(write):
    records = [{"uid": k, "text": "words", "annotators": [0, 1, 2], "labels": [k % 2, k % 2, 1]} for k in range(4)]
    answers = read_answers(write(lines([*records, {"uid": 4, "text": "words", "annotators": [], "labels": None}])))
    assert (answers.items, answers.annotators) == (["0", "1", "2", "3"], ["0", "1", "2"])
    with pytest.raises(UserError, match="line 1: 3 in 'annotators' and 2 in 'labels'"):
        read_answers(write(lines([records[0] | {"labels": [1, 2]}, *records])))
    given = [{"id": k, "text": "w", "annotations": [{"annotator": w, "label": "ab"[k % 2]} for w in "xy"]} for k in range(3)]
    assert read_answers(write(lines([*given, {"id": 3, "text": "w", "annotations": []}]))).annotators == ["x", "y"]


def test_a_taxonomy_s_path_is_one_label(write):
    records = [{"id": k, "data": {"image": t}, "annotations": [{"completed_by": w, "result": [
        {"from_name": "kind", "value": {"taxonomy": [["animal", c]]}}]}]} for k, (t, w, c) in enumerate(CROWD)]
    assert triples(read_answers(write(json.dumps(records)))) == sorted((t, w, f"animal/{c}") for t, w, c in CROWD)


def test_only_the_first_sheet_is_read(write, capsys):
    content = io.BytesIO()
    with pd.ExcelWriter(content) as book:
        TABLE.to_excel(book, sheet_name="one", index=False)
        TABLE.to_excel(book, sheet_name="two", index=False)
    assert triples(read_answers(write(content.getvalue(), "answers.xlsx"))) == sorted(CROWD)
    assert capsys.readouterr().out.count("only its first sheet, 'one', is read; others: two") == 1


def test_a_workbook_is_parsed_once_until_it_changes(tmp_path, monkeypatch):
    pytest.importorskip("openpyxl")
    parsed, read = [], pd.read_excel
    monkeypatch.setattr(pd, "read_excel", lambda *args, **named: parsed.append(1) or read(*args, **named))
    TABLE.to_excel(tmp_path / "answers.xlsx", index=False)
    assert triples(read_answers(str(tmp_path / "answers.xlsx"))) == sorted(CROWD) and len(parsed) == 1
    TABLE[1:].to_excel(tmp_path / "answers.xlsx", index=False)
    assert triples(read_answers(str(tmp_path / "answers.xlsx"))) == sorted(CROWD[1:]) and len(parsed) == 2


def test_ids_that_a_float_cannot_hold(write):
    """1582920000000000001 and ...2 are one number in a column of floats."""
    for first in (1582920000000000001, 2 ** 53):
        table = pd.DataFrame({"tweet_id": [float(first + k) for k in (0, 0, 1, 1)], "worker": ["x", "y"] * 2,
                              "label": [0, 1, 1, 1]})
        with pytest.raises(UserError, match="a column of floats has shortened"):
            read_answers(Frame(table, "answers"))
    table["tweet_id"] = [float(2 ** 53 - 1 - k) for k in (0, 0, 1, 1)]
    assert read_answers(Frame(table, "answers")).items == ["9007199254740991", "9007199254740990"]


@pytest.mark.parametrize(("content", "line"), [
    ('text,worker,label\n"one\ntwo\nthree",ann,cat\nfour,,dog\n', 5),
    ('text,"worker\nid",label\none,ann,cat\n\ntwo,,dog\n', 5),
    ("text,worker,label\r\none,ann,cat\r\n\r\ntwo,,dog", 4)])
def test_errors_name_the_line_of_the_file(write, content, line):
    for name, text in (("answers.csv", content), ("answers.csv.gz", gzip.compress(content.encode("utf-16")))):
        with pytest.raises(UserError, match=f"line {line}: nothing in column"):
            read_answers(write(text, name))


def test_prodigy_s_questions_of_one_label(write):
    """One label in all records: the annotator says yes or no to it. Several: an accepted one is the answer."""
    records = [{"_task_hash": 1, "_input_hash": t, "text": t, "label": "CAT", "_annotator_id": w,
                "answer": "accept" if c == "cat" else "reject"} for t, w, c in CROWD]
    assert triples(read_answers(write(lines(records)))) == sorted(
        (t, w, "accept" if c == "cat" else "reject") for t, w, c in CROWD)
    records = [record | {"label": c, "answer": "accept"} for record, (_, _, c) in zip(records, CROWD, strict=True)]
    assert triples(read_answers(write(lines(records)))) == sorted(CROWD)


def test_excel_and_parquet(write, monkeypatch):
    content = io.BytesIO()
    TABLE.to_excel(content, index=False)
    assert triples(read_answers(write(content.getvalue(), "answers.xlsx"))) == sorted(CROWD)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UserError, match="an Excel workbook, and its reader is not installed; .*pip install openpyxl"):
        read_answers(write(content.getvalue()))
    pytest.importorskip("pyarrow")
    content = io.BytesIO()
    TABLE.to_parquet(content)
    file = write(content.getvalue(), "answers.parquet")
    assert triples(read_answers(file)) == sorted(CROWD)
    monkeypatch.setattr(workbooks, "CELLS", 10)
    with pytest.raises(UserError, match="a Parquet table that cannot be read .6 rows of 3 columns"):
        read_answers(file)


@pytest.mark.parametrize("name, item", [
    ("https://e.org/birds/a.png?size=1", 0), ("C:\\pictures\\birds\\a.png", 0), ("3f2a9b1c-a.png", 0), ("B.PNG", 1),
    ("b", 1), ("https://e.org/one/x.jpg", 2), ("https://e.org/x.jpg", AMBIGUOUS), ("Caf\u00e9.png", 4),
    ("https://e.org/Caf%C3%A9.png", 4), ("other.png", -1), ("", -1), ("Ordner%20a/bild%201.png", 5), ("bild%201.png", 5),
    ("/data/local-files/?d=Ordner%20a/bild%201.png", 5),
    ("https://e.org/data/local-files/?d=b%2FOrdner%20a/bild%201.png", 5), ("/data/upload/3/1a2b3c4d-bild%201.png", 5),
])
def test_names_as_exports_change_them(name, item):
    there = ["birds/a.png", "birds/b.Png", "one/x.jpg", "two/x.jpg", "Cafe\u0301.png", "Ordner a/bild 1.png"]
    assert find_items(there, [name], FILE_NAMES) == [item]


def test_a_missing_file_is_not_replaced_by_another_ones():
    """Where other names meet files with their folders, a name is not met without its own; the same with hashes and dates."""
    there = ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg"]
    assert find_items(there, ["a/1.jpg", "b/1.jpg", "a/3.jpg"], FILE_NAMES).tolist() == [0, 2, -1]
    assert find_items(there, ["https://e.org/x/a/1.jpg", "https://e.org/x/a/3.jpg"], FILE_NAMES).tolist() == [0, -1]
    assert find_items(there, ["x/3.jpg"], FILE_NAMES).tolist() == [4]  # no other name says what a folder means
    there = ["20240101_1.jpg", "20240102_1.jpg", "20240102_5.jpg", "5.jpg"]
    assert find_items(there, ["20240101_1.jpg", "20240101_5.jpg"], FILE_NAMES).tolist() == [0, -1]
    assert find_items(there[:3], ["20240101_5.jpg"], FILE_NAMES).tolist() == [-1]
    assert find_items(there, ["abcdef01_5.jpg"], FILE_NAMES).tolist() == [3]
    assert find_items(["deadbeef_5.jpg"], ["5.jpg"], FILE_NAMES).tolist() == [0]


def test_names_of_what_is_no_file():
    assert find_items(["https://e.org/a", "https://e.org/b"], ["a", "b", "c"]).tolist() == [0, 1, -1]
    assert find_items(["a", "b"], ["x/a", "y/a", "b"]).tolist() == [-1, -1, 1]  # either may be another item
    assert find_items(["a", "b"], ["A", "a"]).tolist() == [-1, 0]


PAIRS = [("Write a poem", "Roses are red", "ann", "good"), ("Write a poem", "Roses are red", "bob", "good"),
         ("Write a poem", "asdf", "ann", "bad"), ("Write a poem", "asdf", "bob", "bad"),
         ("Sum 1+1", "2", "ann", "good"), ("Sum 1+1", "2", "bob", "good")]


def pairs(header, row):
    """PAIRS as CSV, each with the number of its task."""
    tasks = {answer: number for number, answer in enumerate(dict.fromkeys(answer for _, answer, *_ in PAIRS), 1)}
    return header + "\n" + "".join(row.format(prompt=prompt, answer=answer, n=tasks[answer], w=worker, c=label) + "\n"
                                   for prompt, answer, worker, label in PAIRS)


@pytest.mark.parametrize("content", [
    json.dumps([{"id": number, "data": {"prompt": "Write a poem" if number < 3 else "Sum 1+1", "response": response},
                 "annotations": [{"completed_by": worker, "result": [
                     {"from_name": "q", "value": {"choices": ["bad" if number == 2 else "good"]}},
                     {"from_name": "why", "value": {"text": ["because"]}}]} for worker in ("ann", "bob")]}
                for number, response in ((1, "Roses are red"), (2, "asdf"), (3, "2"))]),
    lines([{"text": prompt, "html": answer, "_input_hash": ["Roses are red", "asdf", "2"].index(answer) + 1, "accept": [c],
            "answer": "accept", "_session_id": worker} for prompt, answer, worker, c in PAIRS]),
    pairs("HITId,WorkerId,Input.premise,Input.hypothesis,Answer.q", "{n},{w},{prompt},{answer},{c}"),
    pairs("ASSIGNMENT:task_id\tASSIGNMENT:worker_id\tINPUT:premise\tINPUT:hypothesis\tOUTPUT:q",
          "{n}\t{w}\t{prompt}\t{answer}\t{c}"),
    pairs("classification_id;user_name;annotations;subject_ids;subject_data",
          '7;{w};"[{{""task"": ""T0"", ""value"": ""{c}""}}]";{n};"{{""{n}"": {{""Filename"": ""{prompt}""}}}}"'),
], ids=["Label Studio", "Prodigy", "Mechanical Turk", "Toloka", "Zooniverse"])
def test_tasks_of_one_name_are_several_items(write, content, capsys):
    answers = read_answers(write(content))
    assert triples(answers) == [(str(n), w, "bad" if n == 2 else "good") for n in (1, 2, 3) for w in ("ann", "bob")]
    assert "the items" in capsys.readouterr().out


def test_one_task_that_was_sent_twice_is_one_item(write, capsys):
    """Also with other inputs beside it, if no worker has met both."""
    for inputs in ("t", "u"):
        answers = read_answers(write("HITId,WorkerId,Input.image,Input.text,Answer.q\n1,a,x.png,t,yes\n"
                                     f"2,b,x.png,{inputs},no\n"))
        assert answers.items == ["x.png"] and len(answers) == 2
    records = [{"id": number, "data": {"image": "x.png", "assigned_to": worker}, "annotations": [
        {"completed_by": worker, "result": [{"from_name": "q", "value": {"choices": [label]}}]}]}
        for number, (worker, label) in enumerate((("ann", "yes"), ("bob", "no")))]
    assert read_answers(write(json.dumps(records))).items == ["x.png"]
    assert "notice" not in capsys.readouterr().out


def test_tasks_with_an_id_for_each_answer(write):
    """Prompts with several responses, a HIT for each assignment: those with equal inputs are one item."""
    rows = [f"{k},{w},{prompt},{answer},{c}" for k, (prompt, answer, w, c) in enumerate(PAIRS)]
    answers = read_answers(write("HITId,WorkerId,Input.premise,Input.hypothesis,Answer.q\n" + "\n".join(rows) + "\n"))
    assert answers.items == ["0", "2", "4"] and len(answers) == 6


@pytest.mark.parametrize("more", ["", "3,ann,y.png,false,false\n"])
def test_one_column_for_each_option(write, more):
    header = "HITId,WorkerId,Input.image,Answer.animal.cat,Answer.animal.cow\n"
    answers = read_answers(write(header + "1,ann,x.png,true,false\n2,bob,x.png,false,true\n" + more))
    assert triples(answers) == [("x.png", "ann", "cat"), ("x.png", "bob", "cow")] and answers.classes == ["cat", "cow"]
    with pytest.raises(UserError, match="columns Answer.q.label, Answer.q.comment may each be the label"):
        read_answers(write("HITId,WorkerId,Input.image,Answer.q.label,Answer.q.comment\n1,ann,x.png,cat,fine\n"))
    with pytest.raises(UserError, match=r"line 2: several of Answer.animal.\* are true"):
        read_answers(write(header + "1,ann,x.png,true,true\n2,bob,x.png,false,true\n"))


@pytest.mark.parametrize("header, row", [("id,url,annotator,label", "{k},{t},{w},{c}"),
                                         ("index,image_id,worker,label", "{k},{t},{w},{c}"),
                                         ("id,worker,label,document", "{t},{w},{c},d"),
                                         ("image,worker,label,row", "{t},{w},{c},{k}")])
def test_a_number_of_rows_is_no_item(write, header, row):
    content = "".join(row.format(k=k, t=t, w=w, c=c) + "\n" for k, (t, w, c) in enumerate(CROWD))
    assert triples(read_answers(write(f"{header}\n{content}"))) == sorted(CROWD)


def test_rows_that_are_no_answers(write, capsys):
    content = TABLE.to_csv(index=False)
    answers = read_answers(write(content + content + "d.png,ann,\n"))
    said = capsys.readouterr().out
    assert triples(answers) == sorted(CROWD) and "rows without a label are left out: 1 of 13" in said
    assert "rows that repeat the header are left out: 1 of 14" in said
    names, labels, _ = read_labels(write("task,label\na.png,cat\nb.png,\n"), ["cat", "dog"], "no answer has")
    assert (names, labels.tolist()) == (["a.png"], [0])
    with pytest.raises(UserError, match="nothing in column 'label'; expected labels"):
        read_labels(write("task,label\na.png,\nb.png,\n"), ["cat", "dog"], "no answer has")


@pytest.mark.parametrize("paths, people", [
    (("dr.mueller.csv", "dr.schmidt.csv"), ["dr.mueller", "dr.schmidt"]),
    (("ann@x.org.csv", "2024.01.05.csv"), ["2024.01.05", "ann@x.org"]),
    (("alice/labels.csv", "bob/labels.csv", "carl.csv"), ["alice/labels", "bob/labels", "carl"]),
    (("alice/r1/labels.csv", "bob/r1/labels.csv"), ["alice/r1/labels", "bob/r1/labels"])])
def test_each_file_is_its_annotator_s(tmp_path, paths, people):
    for path in paths:
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / path).write_text("task,label\nx,yes\ny,no\n")
    assert sorted(read_answers([str(tmp_path / path) for path in paths]).annotators) == people


@pytest.mark.parametrize("more", [("source", "web"), ("part", "5"), ("part", "6.5")])
def test_a_column_of_other_values_is_no_annotator_s(write, more):
    rows = [(f"i{k}", "cat", "dog" if k % 2 else "cat", more[1]) for k in range(12)]
    with pytest.raises(UserError, match=f"hardly anything in '{more[0]}' is in another"):
        read_answers(write(f"task,ann,bob,{more[0]}\n" + "".join(",".join(row) + "\n" for row in rows)))


def test_an_annotator_with_a_label_of_their_own(write, capsys):
    answers = read_answers(write("task,ann,bob,cas\na,x,x,unsure\nb,y,y,unsure\nc,x,y,unsure\n"))
    assert len(answers.annotators) == 3 and "nothing in column 'cas' is in another" in capsys.readouterr().out
    assert len(read_answers(write("task,ann,bob\na,yes,no\nb,yes,no\nc,yes,no\n")).annotators) == 2


def test_what_excel_writes(write, capsys):
    answers = read_answers(write("task,ann,bob\na.png,cat,dog\nb.png,dog,dog\nc.png,cat,cat\nd.png,#N/A,cat\n"))
    assert triples(answers) == sorted([*CROWD, ("d.png", "bob", "cat")])
    assert triples(read_answers(write(table("task,worker,label,,", "{t},{w},{c},,")))) == sorted(CROWD)
    with pytest.raises(UserError, match="nothing above column 4"):
        read_answers(write("task,ann,bob,,\na,x,x,y,y\nb,y,y,x,x\n"))
    read_answers(write(table("task,worker,label", "{t},{w},{c}", "d.png,ANN,cat\n")))
    assert "'ann' and 'ANN' are two annotators" in capsys.readouterr().out


def test_two_workflows_of_zooniverse(write):
    header = "classification_id;user_name;workflow_id;annotations;subject_ids\n"
    row = '7;{w};{flow};"[{{""task"": ""T0"", ""value"": ""{c}""}}]";{t}\n'
    content = header + "".join(row.format(w=w, c=c, t=t, flow=77) for t, w, c in CROWD) + row.format(
        w="ann", c="Yes", t="a.png", flow=78)
    with pytest.raises(UserError, match="answers to 2 questions, 77 T0, 78 T0"):
        read_answers(write(content))
    assert triples(read_answers(write(content), where=["question=77 T0"])) == sorted(CROWD)
