"""Kinds of tables that public repositories keep, which were read wrongly or refused without need."""
import json

import pandas as pd
import pytest

from common.data.answers import read_answers
from common.system.errors import UserError
from OwnData import aggregate
from test_layouts import CROWD, table, triples

WIDE = "a.png,cat,dog\nb.png,dog,dog\nc.png,cat,cat\n"


def test_an_index_of_pandas_that_names_the_items(write):
    """As of one file for each annotator, with several questions."""
    files = [write(table(";animal;size", "{t};{c};big", of=name), f"{name}.csv") for name in ("ann", "bob")]
    with pytest.raises(UserError, match="one question: --columns TASK animal \\(TASK is 'Unnamed: 0' for the"):
        read_answers(files, classes=["cat", "dog", "big"])
    assert triples(read_answers(files, columns=["Unnamed: 0", "animal"])) == sorted(CROWD)
    long = write(table(",who,animal", "{t},{w},{c}"))
    assert triples(read_answers(long, columns=["Unnamed: 0", "who", "animal"])) == sorted(CROWD)


def test_an_index_of_pandas_before_texts(write):
    rows = "".join(f"{k},{row}\n" for k, row in enumerate(WIDE.splitlines()))
    assert triples(read_answers(write(f",sentence,ann,bob\n{rows}"))) == sorted(CROWD)


def test_two_indices_of_pandas(write):
    rows = "".join(f"{k},{k},{row}\n" for k, row in enumerate(WIDE.splitlines()))
    assert triples(read_answers(write(f",Unnamed: 0,task,ann,bob\n{rows}"))) == sorted(CROWD)
    assert triples(read_answers(write(table(",Unnamed: 0,task,worker,label", "0,0,{t},{w},{c}")))) == sorted(CROWD)
    with pytest.raises(UserError, match="--columns  worker label: .* has no column ''; it has Unnamed: 0, task"):
        read_answers(write(table(",task,worker,label", "0,{t},{w},{c}")), ["", "worker", "label"])


def test_annotators_called_as_pandas_calls_columns(write):
    assert len(read_answers(write(f"task,ann,Unnamed: 2\n{WIDE}")).annotators) == 2


def test_names_of_items_before_annotators_called_as_items_are(write):
    assert read_answers(write(f",Text,Url\n{WIDE}")).annotators == ["Text", "Url"]
    assert read_answers(write(",Page,Row\n100,2,2\n101,0,0\n102,1,1\n")).annotators == ["Page", "Row"]


def test_columns_without_a_name(write):
    empty = "".join(row.replace(",", ",,", 1) + ",,\n" for row in WIDE.splitlines())
    assert triples(read_answers(write(f"task,,ann,bob,,\n{empty}"))) == sorted(CROWD)
    tool = write(table("annotation_id,annotator,created_at,id,lead_time,sentiment,,", "7,{w},now,{t},3,{c},,"))
    assert triples(read_answers(tool)) == sorted(CROWD)
    with pytest.raises(UserError, match="line 1: nothing above column 2; expected a name for each column .*--no-header"):
        read_answers(write(f"Ratings of birds,,\ntask,ann,bob\n{WIDE}"))


def test_people_who_all_have_one_number(write, capsys):
    """In their own installations of a tool."""
    header = "annotation_id,annotator,created_at,id,lead_time,review,sentiment"
    files = [write(table(header, "7,1,now,{t},3.5,good,{c}", of=name), f"{name}.csv") for name in ("ann", "bob")]
    with pytest.raises(UserError, match="review, sentiment may each be the label; .*, or --columns id LABEL if each"):
        read_answers(files)
    assert triples(read_answers(files, columns=["id", "sentiment"])) == sorted(CROWD)
    capsys.readouterr()
    assert triples(read_answers(files, columns=["id", "annotator", "sentiment"])) == sorted(CROWD)
    assert "all answers are by '1', to the same items in several files" in capsys.readouterr().out
    halves = [write(f"task,worker,label\n{one},1,x\n{two},1,y\n", f"{one}.csv") for one, two in ("ab", "cd")]
    halves += [write("task,worker,label\na,1,x\ne,1,y\n", "more.csv")]  # one of them a second time
    with pytest.raises(UserError, match="one annotator alone, '1'"):
        read_answers(halves)


def test_several_questions_in_files_of_one_annotator(write):
    files = [write(table("command,intent,sure", "{t},{c},4", of=name), f"{name}.csv") for name in ("ann", "bob")]
    with pytest.raises(UserError, match="or --columns TASK LABEL if each file is one annotator's"):
        read_answers(files)
    assert triples(read_answers(files, columns=["command", "intent"])) == sorted(CROWD)


def test_a_suggestion_with_the_participants_as_annotators(write):
    rows = "".join(f"{k % 4},{k // 4},{k % 2}\n" for k in range(20))
    with pytest.raises(UserError, match="--columns comparison_id participant_id prefers"):
        read_answers(write(f"participant_id,comparison_id,prefers\n{rows}"))


def test_a_suggestion_can_be_typed(write):
    rows = "".join(f"{k % 4},{k // 4},{k % 2}\n" for k in range(20))
    with pytest.raises(UserError, match="--columns 'Comparison no' 'Participant no' 'prefers it'"):
        read_answers(write(f"Participant no,Comparison no,prefers it\n{rows}"))


def test_criteria_are_no_annotators(write, capsys):
    rows = "".join(f"E{k},{k % 3},{k % 2},{k % 3},1\n" for k in range(9))
    read_answers(write(f"eval_id,fluency_A,correct_A,fluency_B,correct_B\n{rows}"))
    assert "fluency_A, correct_A, fluency_B, correct_B look like criteria, not annotators" in capsys.readouterr().out
    for header in ("ann,bob,cy,fluency", "fluency ann,fluency bob,fluency cy,fluency dan"):
        read_answers(write(f"eval_id,{header}\n{rows}"))
    assert "criteria" not in capsys.readouterr().out


def test_named_annotators(write):
    rows = "".join(f"{k},{row},{k % 2},ok\n" for k, row in enumerate(WIDE.splitlines()))
    file = write(f"no,title,ann,bob,year,note\n{rows}")
    assert triples(read_answers(file, ["title"], annotators=["ann", "bob"])) == sorted(CROWD)
    with pytest.raises(UserError, match="nothing in column 'id'; .*: --columns TASK --annotators NAME"):
        read_answers(write("id,title,ann,bob\n,a,x,x\n,b,y,x\n", "gaps.csv"))
    by_number = read_answers(file, annotators=["ann", "bob"])
    assert by_number.items == ["0", "1", "2"] and by_number.layout == "a column for each annotator: task=no, ann, bob"
    result = aggregate(pd.read_csv(file), columns=["title"], annotators=["ann", "bob"])
    assert set(result.labels["item"]) == {"a.png", "b.png", "c.png"}
    for columns, annotators, message in (
            (["title"], ["ann", "eve"], "--annotators ann eve: .* has no column 'eve'"),
            (["name"], ["ann", "bob"], "--columns name: .* has no column 'name'"),
            (None, ["ann", "bob", "ann"], "--annotators ann bob ann: a column twice"),
            (["ann"], ["ann", "bob"], "--annotators ann bob and --columns ann: a column twice"),
            (["title", "ann"], ["ann", "bob"], "--columns title ann and --annotators ann bob: expected the items' column")):
        with pytest.raises(UserError, match=message):
            read_answers(file, columns, annotators=annotators)


def test_what_is_no_answer_of_named_annotators(write):
    again = write(f"title,ann,bob\n{WIDE}title,ann,bob\n")
    assert triples(read_answers(again, annotators=["ann", "bob"])) == sorted(CROWD)
    with pytest.raises(UserError, match="-1 in column 'bob'"):
        read_answers(write("title,ann,bob\na,0,1\nb,1,-1\n"), annotators=["ann", "bob"])


def test_annotators_without_items(write):
    answers = read_answers(write("ann,bob,note\ncat,cat,x\ndog,cat,y\n"), annotators=["ann", "bob"])
    assert answers.items == ["0", "1"] and "task=the row's number" in answers.layout


def test_an_item_that_several_columns_name(write):
    rows = "81,claude,gpt,m1,m2\n81,claude,llama,m1,m1\n82,claude,gpt,m2,m2\n"
    file = write(f"question,first,second,ann,bob\n{rows}")
    with pytest.raises(UserError, match="'81' a second time; .*--columns A\\+B --annotators NAME"):
        read_answers(file)
    answers = read_answers(file, ["question+first+second"], annotators=["ann", "bob"])
    assert sorted(answers.items) == ["81 + claude + gpt", "81 + claude + llama", "82 + claude + gpt"]
    rows = "".join(f"{k // 2},{k % 2},{w},{c}\n" for k in range(4) for w, c in ("ax", "by"))
    long = write(f"dialog,turn,who,label\n{rows}")
    assert len(read_answers(long, ["dialog+turn", "who", "label"]).items) == 4
    again = write(f"dialog,turn,who,label\n{rows}dialog,turn,who,label\n")
    assert len(read_answers(again, ["dialog+turn", "who", "label"]).items) == 4
    for cell, message in ((",0", "nothing in column 'dialog\\+turn'"), ("1.2E+15,0", "item '1.2E\\+15 \\+ 0' is a number")):
        with pytest.raises(UserError, match=message):
            read_answers(write(f"dialog,turn,who,label\n{rows}{cell},b,y\n"), ["dialog+turn", "who", "label"])


def test_no_header(write):
    file = write(table("", "{w}\t{t}\t{c}").lstrip("\n"))
    with pytest.raises(UserError, match="or --no-header"):
        read_answers(file)
    answers = read_answers(file, ["2", "1", "3"], no_header=True)
    assert triples(answers) == sorted(CROWD) and answers.place(0).endswith("line 1")
    assert len(read_answers(write("cat,dog,cat\ndog,dog,\ncat,cat,cat\n"), no_header=True)) == 8  # MACE's tables
    with pytest.raises(UserError, match="--no-header: answers is a DataFrame, whose columns have names"):
        aggregate(pd.DataFrame({"task": ["a"], "ann": ["x"], "bob": ["y"]}), no_header=True)
    with pytest.raises(UserError, match="is JSON, which has no columns"):
        read_answers(write('{"a": {"ann": "x", "bob": "y"}}'), no_header=True)
    assert "[removed]" in read_answers(write("[removed],cat,dog\nb,dog,dog\nc,cat,cat\n"), no_header=True).items
    with pytest.raises(UserError, match="--no-header: .* is no text; give its columns names"):
        read_answers(write(b"PAR1 and more"), no_header=True)


def lewidi(annotations):
    return {"text": "words", "annotation task": "irony", "number of annotations": 2, "annotators": "ann, bob",
            "annotations": annotations, "soft_label": {"0": .5, "1": .5}, "split": "dev", "other_info": {"ann": "m"}}


@pytest.mark.parametrize("form", [", ".join, lambda labels: dict(zip(("ann", "bob"), labels, strict=True))])
def test_lewidi(form, write, capsys):
    labels = {"a.png": ("cat", "dog"), "b.png": ("dog", "dog"), "c.png": ("cat", "cat")}
    file = write(json.dumps({item: lewidi(form(given)) for item, given in labels.items()}), "dev.json")
    assert triples(read_answers(file)) == sorted(CROWD)
    with pytest.raises(UserError, match="LeWiDi's JSON, without answers"):
        read_answers(write(json.dumps({item: lewidi(form(("", ""))) for item in labels}), "test.json"))
    with pytest.raises(UserError, match="record 1: 2 in 'annotators' and 1 in 'annotations'"):
        read_answers(write(json.dumps({"a": lewidi("cat"), "b": lewidi("cat,dog")}), "odd.json"))
