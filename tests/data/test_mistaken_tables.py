"""Tables in which something else looks like the items, the annotators or their labels."""
import json
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest

from common.data.answers import read_answers
from common.system.errors import UserError
from OwnData import aggregate
from OwnData.aggregation import has_items_in_index

PEOPLE = "ann", "bob", "cy"


def shuffled(seed, count):
    return np.random.default_rng(seed).permutation(count).tolist()


def ratings(rows=20):
    """[[int]]: the ratings of three annotators, from 1 to 5."""
    return np.random.default_rng(0).integers(1, 6, (rows, 3)).tolist()


def csv(header, rows):
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def test_an_index_that_names_the_items():
    """As in the same table written to a file."""
    table = pd.DataFrame({name: list("xyyx") for name in PEOPLE}, index=[3, 0, 2, 1])
    labels = aggregate(table).labels
    assert dict(zip(labels["item"], labels["label"], strict=True)) == {"3": "x", "0": "y", "2": "y", "1": "x"}


def test_an_index_of_rows_that_are_left(write):
    table = pd.DataFrame({"headline": [f"h{k}" for k in range(20)]} | {name: list("xyyx") * 5 for name in PEOPLE})
    assert set(aggregate(table[table.index % 3 > 0]).labels["item"]) == {f"h{k}" for k in range(20) if k % 3}
    cases = pd.DataFrame({"case": np.arange(9.) + 5} | {name: np.arange(9.) % 2 for name in PEOPLE})
    assert set(aggregate(cases).labels["item"]) == {str(k) for k in range(5, 14)}
    assert not has_items_in_index(pd.DataFrame({"picture": ["a"], "coder": ["b"], "code": ["c"]}, index=[7]))


def test_a_table_of_each_annotator():
    tables = [pd.DataFrame({"task": range(12), "label": list(labels)}) for labels in ("xxyy" * 3, "xyyy" * 3)]
    assert aggregate(tables).annotators["annotator"].tolist() == ["answers", "answers-1"]


@pytest.mark.parametrize("header, label", [("id,prompt,response,annotator,rating", "response"),
                                           ("item_id,lot,category,rater,score", "category")])
def test_a_label_of_the_items_is_a_warning(write, capsys, header, label):
    rows = [(k, f"p{k}", f"r{k % 4}", name, (k + name.count("b")) % 3) for k, name in product(range(20), PEOPLE)]
    read_answers(write(csv(header, rows)))
    task, _, _, worker, rating = header.split(",")
    assert ("all answers to an item have one label; is it what the annotators say? "
            f"long table: task={task}, worker={worker}, label={label}") in capsys.readouterr().out
    read_answers(write(csv(header, rows)), [task, worker, rating])
    assert "one label" not in capsys.readouterr().out


def test_an_author_is_no_annotator(write):
    rows = [(k, f"u{k % 5}", f"t{k}", name, k % 2) for k, name in product(range(12), PEOPLE)]
    assert read_answers(write(csv("tweet_id,user,text,coder,code", rows))).annotators == list(PEOPLE)


@pytest.mark.parametrize("name", ["mean", "Median", "agreement", "correct answer"])
def test_what_is_computed_is_no_annotator(write, capsys, name):
    rows = [(f"t{k}", *row, 3) for k, row in enumerate(ratings())]
    assert len(read_answers(write(csv(f"text_id,a,b,c,{name}", rows))).annotators) == 3
    assert f"column '{name}' is no annotator's" in capsys.readouterr().out


def test_units_of_appen_with_one_name(write, capsys):
    """Items of one URL and different queries, which no worker met twice; a comment is no part of an item."""
    header = "_unit_id,_worker_id,relevance,comment,query,url,relevance_gold"
    rows = [(100 + unit, f"w{unit % 4}-{k}", "yes" if k else "no", f"c{k}", f"q{unit % 4}", f"http://x/{unit // 4}", "")
            for unit, k in product(range(12), range(3))]
    answers = read_answers(write(csv(header, rows)))
    assert sorted(answers.items) == [str(100 + unit) for unit in range(12)]
    assert "9 tasks have the name of another one" in capsys.readouterr().out
    assert read_answers(write(csv(header, rows[:15]))).items == ["100", "101", "102", "103", "http://x/1"]
    once = [(*row[:4], "q", *row[5:]) for row in rows]  # the same items again
    assert read_answers(write(csv(header, once))).items == [f"http://x/{k}" for k in range(3)]


def test_codes_that_are_one_number_are_a_warning(write, capsys):
    rows = [(k, name, ("1.1", "1.2", "1.10")[k % 3]) for k, name in product(range(6), PEOPLE)]
    assert read_answers(write(csv("task,worker,label", rows))).classes == ["1.1", "1.2"]
    assert "'1.1' and '1.10' are one class, the number 1.1; if they are two codes" in capsys.readouterr().out
    rows = [(k, name, ("1", "1.0", "2.0")[k % 3]) for k, name in product(range(6), PEOPLE)]
    assert read_answers(write(csv("task,worker,label", rows))).classes == ["1", "2"]
    assert "one class" not in capsys.readouterr().out


def test_votes_for_classes_are_no_annotators(write):
    counts = np.random.default_rng(0).multinomial(5, [.8, .1, .1], 20).tolist()
    content = csv("image,cat,dog,cow", [(f"i{k}", *row) for k, row in enumerate(counts)])
    with pytest.raises(UserError, match="of each row add up to 5, so the columns cat, dog, cow seem to be classes"):
        read_answers(write(content))
    assert len(read_answers(write(content), classes=[*"012345"]).annotators) == 3
    ties = [(f"i{k}", *row) for k, row in enumerate(sorted(set(permutations([0, 0, 1, 1]))) * 2)]  # kept for a fifth person
    for header, rows in (("image,a,b,c", [(f"i{k}", *row) for k, row in enumerate(ratings())]), ("image,a,b,c,d", ties)):
        assert len(read_answers(write(csv(header, rows))).annotators) == header.count(",")


@pytest.mark.parametrize("header", ["index,participant,stimulus,rt,response", "row,participant,picture,rt,response",
                                    "index,participant,sentence,page,response", "no,participant,id,index,response"])
def test_a_number_of_each_person_s_trial_is_no_item(write, header):
    rows = [(k, f"p{person}", f"s{stimulus}", k, stimulus % 2) for person in range(6)
            for k, stimulus in enumerate(shuffled(person, 20))]
    answers = read_answers(write(csv(header, rows)))
    assert sorted(answers.items) == sorted(f"s{k}" for k in range(20)) and len(answers) == 120


def test_an_id_is_an_item_though_each_person_has_an_order(write):
    rows = [(f"p{person}", k, item, item % 2) for person in range(3) for k, item in enumerate(shuffled(person, 9))]
    for order in ("index", "row", "no", "page"):
        assert sorted(read_answers(write(csv(f"annotator,{order},id,label", rows))).items) == [*"012345678"]


def test_an_item_of_two_columns_is_a_warning(write, capsys):
    rows = [(f"d{doc}", f"s{sentence}", name, (doc + sentence) % 2)
            for doc, sentence, name in product(range(4), range(6), PEOPLE)]
    read_answers(write(csv("doc_id,sent_id,annotator,label", rows)))
    assert "warning:" in (said := capsys.readouterr().out) and "if it takes several columns to name an item" in said
    again = [(f"d{doc}", "s", name, doc % 2) for doc, name in product(range(6), PEOPLE)]
    read_answers(write(csv("doc_id,sent_id,annotator,label", [*again, *again])))  # each answer twice
    assert "warning:" not in capsys.readouterr().out


@pytest.mark.parametrize("header, in_rows", [
    ("Respondent ID,pic 1,pic 2,pic 3", True), ("Student,Q1,Q2,Q3", True), ("Response ID,Is it a?,a b?,b?", True),
    ("user,pic 1,pic 2,pic 3", True), ("student_id,rater1,rater2,rater3", False), ("response_id,gpt4,claude,ann", False),
    ("respondent_id,coder 1,coder 2,coder 3", False)])
def test_persons_in_rows(write, header, in_rows):
    rows = [(f"x{k}", *row) for k, row in enumerate(ratings(3))]
    assert (read_answers(write(csv(header, rows))).annotators == ["x0", "x1", "x2"]) == in_rows


@pytest.mark.parametrize("more", ["expert", "response_id", "reviewer", "email", "student", "observer"])
def test_a_user_is_an_annotator_unless_there_is_a_coder(write, more):
    rows = [(k, name, "xy"[k % 2], k % 2) for k, name in product(range(12), PEOPLE)]
    assert read_answers(write(csv(f"task,user,label,{more}", rows))).annotators == list(PEOPLE)


def test_numbers_of_patients_are_items(write):
    rows = [(k, *row) for k, row in zip(shuffled(0, 12), ratings(12), strict=True)]
    for first in ("patient", "sample", "No."):
        answers = read_answers(write(csv(f"{first},a,b,c", rows)))
        assert len(answers.annotators) == 3 and sorted(map(int, answers.items)) == list(range(12))
    with pytest.raises(UserError, match="line 3: '0' a second time"):
        read_answers(write(csv("patient,a,b,c", [(k // 2, *row) for k, row in enumerate(ratings(12))])))


def test_notes_below_a_table_and_headers_in_it(write, capsys):
    rows = [(f"i{k}", *row) for k, row in enumerate(ratings())]
    answers = read_answers(write(csv("item,a,b,c", [*rows[:9], ("item", "a", "b", "c"), *rows[9:]]) + ",,,\n1 = good,,,\n"))
    said = capsys.readouterr().out
    assert len(answers.annotators) == 3 and answers.classes == ["1", "2", "3", "4", "5"]
    assert "rows that repeat the header are left out: 1 of 22" in said
    assert "no answers to 1 of 21 items, as '1 = good'" in said


@pytest.mark.parametrize("cell", ["cat\ndog", "cat;dog"])
def test_two_labels_in_a_cell(write, cell):
    rows = [(k, name, ("cat", "dog", f'"{cell}"')[k % 3]) for k, name in product(range(6), PEOPLE)]
    with pytest.raises(UserError, match="which are 2 labels in one cell"):
        read_answers(write(csv("task,worker,label", rows)))
    rows = [(k, name, ("cat", "dog", "cat/dog")[k % 3]) for k, name in product(range(6), PEOPLE)]
    assert len(read_answers(write(csv("task,worker,label", rows))).classes) == 3


def test_objects_of_no_known_tool(write):
    person = {f"i{k}.jpg": {"label": "cat", "seconds": k} for k in range(9)}
    with pytest.raises(UserError, match="'label' for a worker; expected"):
        read_answers(write(json.dumps(person), "ann.json"))
    records = [{"source-ref": f"s3://x/{k}.jpg", "animal": k % 2, "animal-facts": {"class-name": "cat", "time": k}}
               for k in range(12)]
    with pytest.raises(UserError, match="records with objects in 'animal-facts', of no tool that is known here"):
        read_answers(write(json.dumps(records), "manifest.json"))
    quoted = [{"text": f'{{"answer": {k}}}', "ann": "ok", "bob": "bad", "cy": "ok" if k else "bad"} for k in range(9)]
    assert len(read_answers(write(json.dumps(quoted), "quoted.json")).annotators) == 3


def test_minus_one_among_the_classes(write):
    content = csv("id,a,b,c", [(f"t{k}", k % 3 - 1, (k + 1) % 3 - 1, 1) for k in range(9)])
    with pytest.raises(UserError, match="-1 among --classes"):
        read_answers(write(content))
    assert read_answers(write(content), classes=["-1", "0", "1"]).classes == ["-1", "0", "1"]


def test_headers_of_spreadsheets_and_surveys(write):
    assert read_answers(write('image,"rater 1\n(Ann)","rater 2\r\n(Bob)"\ni1,x,y\ni2,y,y\n')).annotators == [
        "rater 1 (Ann)", "rater 2 (Bob)"]
    question = "Is it a cat, a dog, or a cow?"
    answers = read_answers(write(f"person;1: {question};2: {question};3: {question}\nann;cat;dog;cow\nbob;cat;cow;cow\n"))
    assert answers.annotators == ["ann", "bob"] and answers.items[0] == f"1: {question}"
    answers = read_answers(write('task,worker,label,"notes; optional"\n' + 't1,ann,x,"dark, blurred; skip"\nt1,bob,y,\n'))
    assert answers.annotators == ["ann", "bob"]
