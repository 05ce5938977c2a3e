"""What a crowd answered, as people keep it: each form, and what is wrong with it."""
import gzip
import json

import numpy as np
import pytest

from common.data.answers import read_answers, read_labels
from common.system.errors import UserError

TABLE = "task,worker,label\na.jpg,ann,cat\nb.jpg,ann,dog\na.jpg,bob,dog\nc.jpg,bob,dog\nc.jpg,ann,cat\n"
TRIPLES = {("a.jpg", "ann", "cat"), ("b.jpg", "ann", "dog"), ("a.jpg", "bob", "dog"), ("c.jpg", "bob", "dog"),
           ("c.jpg", "ann", "cat")}


def triples(answers):
    return {(answers.items[i], answers.annotators[a], answers.classes[c])
            for i, a, c in zip(answers.item, answers.annotator, answers.label, strict=True)}


WIDE = "task,ann,bob\na.jpg,cat,dog\nb.jpg,dog,\nc.jpg,cat,dog\n"
JSON = json.dumps({"a.jpg": {"ann": "cat", "bob": "dog"}, "b.jpg": {"ann": "dog"}, "c.jpg": {"bob": "dog", "ann": "cat"}})


@pytest.mark.parametrize("content", [
    TABLE,
    TABLE.replace("task,worker,label", "item,annotator,label"),
    TABLE.replace("task,worker,label", "Image,Worker ID,Answer"),
    TABLE.replace(",", "\t"),
    TABLE.replace(",", ";"),
    TABLE.replace(",", ", ").replace("\n", " \n"),
    TABLE.replace("\n", "\r\n"),
    "\ufeff" + TABLE,
    TABLE.replace("ann", '"ann"').replace("cat", ' "cat "'),
    TABLE.replace("\n", "\n\n").removesuffix("\n").replace("label\n\n", "label\n"),
    TABLE.removesuffix("\n"),
    gzip.compress(TABLE.encode(), mtime=0),
    gzip.compress(("\ufeff" + TABLE).encode(), mtime=0),
    TABLE.encode("utf-16"),
    TABLE.encode("utf-16-le"),
    TABLE.replace(",", "|"),
    TABLE.replace(",", " "),
    TABLE.replace(",", "  ").replace("\n", " \n"),
    WIDE,
    WIDE.replace("task", ""),
    WIDE.replace("task", "picture"),
    WIDE.replace("b.jpg,dog,", "b.jpg,dog,nan"),
    JSON,
    "\ufeff" + JSON,
    gzip.compress(JSON.encode(), mtime=0),
], ids=str)
def test_each_form_says_the_same(write, content):
    answers = read_answers(write(content))
    assert triples(answers) == TRIPLES and len(answers) == 5 and answers.classes == ["cat", "dog"]


def test_other_columns_by_name(write):
    content = "when,what,who,said\n1,a,x,yes\n2,a,y,no\n"
    answers = read_answers(write(content), columns=["what", "who", "said"])
    assert triples(answers) == {("a", "x", "yes"), ("a", "y", "no")}
    with pytest.raises(UserError, match="--columns what who sayd: .*no column 'sayd'; it has when, what, who, said"):
        read_answers(write(content), columns=["what", "who", "sayd"])


def test_columns_of_a_wide_table_that_are_no_annotators(write, capsys):
    answers = read_answers(write("case,anna,anna_conf,ben,ben_conf,batch\na,1,2,1,3,1\nb,2,3,1,1,1\nc,1,1,2,2,2\n"))
    assert answers.annotators == ["anna", "ben"] and "task=case, anna, ben" in answers.layout
    assert "column 'anna_conf' is no annotator's and is left out" in capsys.readouterr().out


@pytest.mark.parametrize("header, kept", [
    ("item,anna,confidence_anna,ben,confidence_ben", ["anna", "ben"]),
    ("item,label_anna,conf_anna,label_ben,conf_ben", ["label_anna", "label_ben"]),
    ("item,anna,anna (confidence),ben,anna_duration", ["anna", "ben"])])
def test_confidences_are_no_labels(write, header, kept):
    rows = [f"i{k},{k % 2},{k % 3},{k % 2},{k % 3}\n" for k in range(12)]
    assert read_answers(write(header + "\n" + "".join(rows))).annotators == kept


@pytest.mark.parametrize("classes, items", [(5, 10), (5, 15), (7, 12), (11, 20), (101, 100)])
def test_ratings_without_names_of_the_items_are_a_wide_table(write, classes, items):
    numbered = "".join(f"{k},{k % 9},{(k * 5) % 11},{(k * 3) % 10}\n" for k in range(40))  # no pair comes twice
    assert len(read_answers(write("id,ann,bob,cas\n" + numbered)).items) == 40
    for seed in range(10):
        random = np.random.default_rng(seed)
        ratings = random.integers(classes, size=(items, 1)) + random.integers(-1, 2, size=(items, 5))
        ratings = ratings.clip(0, classes - 1)
        rows = "".join(",".join(map(str, row)) + "\n" for row in ratings)
        try:
            assert len(read_answers(write("anna,ben,carl,dora,emil\n" + rows)).annotators) == 5
        except UserError as error:  # measurements
            assert "classes of" in str(error) and classes == 101


def test_two_names_of_an_item_are_a_warning(write, capsys):
    rows = "img0.png,a,x\nIMG0.PNG,b,y\n{},a,x\nd/e.png,b,x\nf.png,a,y\nf.jpg,b,y\n"
    read_answers(write("task,worker,label\n" + rows.format("d\\e.png")))
    assert "'img0.png' and 'IMG0.PNG' are two items; are they one? 2 such pairs" in capsys.readouterr().out
    read_answers(write("task,worker,label\n" + rows.format("d/e").replace("IMG0.PNG", "img0.png")))
    assert "'d/e' and 'd/e.png' are two items; are they one?\n" in capsys.readouterr().out


def test_rows_are_items_where_none_is_named(write):
    assert triples(read_answers(write("ann,bob\n1.0,2.0\n,1.0\n2.0,2.0\n"))) == {
        ("0", "ann", "1"), ("0", "bob", "2"), ("1", "bob", "1"), ("2", "ann", "2"), ("2", "bob", "2")}


def test_classes_are_sorted_by_number_where_they_are_numbers(write):
    rows = "".join(f"{i},{w},{c}\n" for i, c in enumerate((10, 9, 2)) for w in "xy")
    assert read_answers(write("task,worker,label\n" + rows)).classes == ["2", "9", "10"]
    assert read_answers(write("task,worker,label\n" + rows.replace(",9", ",b"))).classes == ["10", "2", "b"]
    assert read_answers(write("task,worker,label\n" + rows), classes=["10", "2", "9", "11"]).classes == [
        "10", "2", "9", "11"]


def test_odd_names_are_names(write):
    content = "task,worker,label\nNA,null,None\nNA,nan,NA\n01,null,NA\n1,null,None\n"
    answers = read_answers(write(content))
    assert triples(answers) == {("NA", "null", "None"), ("NA", "nan", "NA"), ("01", "null", "NA"), ("1", "null", "None")}


def test_names_that_are_numbers_stay_as_they_are_written(write):
    rows = {("001", "07", "00"), ("1", "7", "0"), ("1e3", "7", "0"), ("1000", "7", "00"), ("9007199254740993", "7", "0")}
    assert triples(read_answers(write("task,worker,label\n" + "".join(",".join(row) + "\n" for row in rows)))) == rows
    assert read_answers(write("item,a,b\n010,TRUE,FALSE\n011,FALSE,\n")).classes == ["FALSE", "TRUE"]
    assert read_answers(write("item,a,b\n010,TRUE,FALSE\n011,FALSE,\n")).items == ["010", "011"]


@pytest.mark.parametrize("content, message", [
    ("", "answers.csv: empty"),
    ("task,worker,label\n", "no answers"),
    ("task,worker,answered\na,b,c\n", "line 1: columns task, worker, answered, none for the label; .*--columns"),
    ("what,worker,label\na,b,c\n", "line 1: .*none for the task"),
    ("task,whom,label\na,b,c\n", "line 1: .*none for the worker"),
    ("a,b,c\nx1,w1,cat\nx1,w2,dog\n", "line 1: columns a, b, c; expected task, worker and label"),
    ("frame,observer,outcome\n" + "".join(f"{k // 3},{k % 3},{k % 2}\n" for k in range(60)),
     "'frame' and 'observer' look like a task and a worker, .* --columns frame observer outcome"),
    ("frame,observer,outcome,seen\n" + "".join(f"{k // 3},{k % 3},{k % 2},{k % 2}\n" for k in range(60)),
     "'frame' and 'observer' look like a task and a worker, .* --columns frame observer outcome, or, if each"),
    ("essay,teacher,mark,semester\n" + "".join(f"{k % 5 + 1},{k // 5 + 1},{k % 3 + 1},{k % 2 + 1}\n" for k in range(20)),
     "'essay' and 'teacher' look like a task and a worker"),
    ("essay,teacher,mark\n" + "".join(f"{k % 5 + 1},{k // 5 + 1},{k % 3 + 1}\n" for k in range(20)) + "1,1,2\n",
     "'essay' and 'teacher' look like a task and a worker"),
    ("trial,slide,reader_of_it,grade\n" + "".join(f"{k + 1},{k % 5 + 1},{k // 5 + 1},{k % 3 + 1}\n" for k in range(17)),
     "'slide' and 'reader_of_it' look like a task and a worker, .* --columns slide reader_of_it grade"),
    ("ID,slide,reader_of_it,grade\n" + "".join(f"{k + 1},{k % 5 + 1},{k // 5 + 1},{k % 3 + 1}\n" for k in range(20)),
     "'slide' and 'reader_of_it' look like a task and a worker, .* --columns slide reader_of_it grade"),
    ("id,text,ann,bob\n1,this is,a,a\n2,that was,b,b\n3,it is,a,b\n", "hardly anything in 'text' is in another"),
    ("id,ann,bob,n_words\n1,0,1,17\n2,1,1,23\n3,0,0,1\n4,1,0,8\n5,0,0,9\n", "hardly anything in 'n_words' is in another"),
    ("task,worker,opinion,ground_truth\na,x,no,yes\n", "none for the label"),
    ("image,whom,opinion\na,x,yes\na,y,no\n", "line 3: 'a' a second time; .* in --columns TASK WORKER LABEL"),
    ("img1.png,dog\nimg2.png,cat\nimg3.png,dog\nimg4.png,cat\n", "'dog' stands in the rows below too, so there is no"),
    ("sep=;\ntask;worker;label\na;b;c\n", "line 1: 'sep=;'; expected the header"),
    ("task,task,label\na,b,c\n", "line 1: two columns are named 'task'"),
    (TABLE + "\na.jpg,cas,cat,dog\n", "Expected 3 fields in line 8, saw 4"),
    ("task,worker,label\na,b,c,d\n", "line 2: more cells than the header's 3"),
    (TABLE.replace("b.jpg,ann", "b.jpg,"), "line 3: nothing in column 'worker'"),
    (TABLE + "\n a.jpg,ann ,dog\n", "line 8: 'ann' answers 'a.jpg' a second time, 1 such .*--duplicates last"),
    ("task,worker,label\na,x,1\nb,x,2\n", "one annotator alone, 'x'"),
    ("task,worker,label\na,x,1\na,y,1\n", "one class alone, '1'"),
    (WIDE + "a.jpg,cat,cat\n", "line 5: 'a.jpg' a second time"),
    ("task,x,y\na,0,1\nb,1,-1\n", "line 3: -1 in column 'y'; expected nothing where there is no answer"),
    (TABLE.encode() + b"\xff\xfe,x,y\n", "not UTF-8 text"),
    (gzip.compress(TABLE.encode(), mtime=0)[:40], "cannot be read"),
    ("[1, 2]", "a list without records; expected a list of records, JSON Lines, or an object"),
    ("{", "not JSON"),
    ('{"a": {"x": 1, "x": 2}}', "'x' twice in one object"),
    ("task," + "x" * 200_000 + "\na,cat\n", "line 1: not a header .field larger than field limit"),
    ('{"a": {"x": [1, 2]}}', r"task 'a', worker 'x': '\[1, 2\]'; expected a label"),
])
def test_bad_answers(write, content, message):
    with pytest.raises(UserError, match=message):
        read_answers(write(content), duplicates="error")


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match="nothing.csv: no such file"):
        read_answers(str(tmp_path / "nothing.csv"))
    with pytest.raises(UserError, match="a folder; expected a file"):
        read_answers(str(tmp_path))


def test_second_answers(write):
    file = write(TABLE + "a.jpg,ann,dog\n")
    assert triples(read_answers(file, duplicates="first")) == TRIPLES
    assert len(read_answers(file, duplicates="count")) == 6


def test_a_class_named_twice(write):
    with pytest.raises(UserError, match="--classes: 'dog' twice; expected each class once"):
        read_answers(write(TABLE), classes=["dog", "cat", "dog"])


def test_labels_outside_the_classes(write, capsys):
    with pytest.raises(UserError, match="line 3: label 'dog', near 'dogs'; expected one of --classes, cat, dogs"):
        read_answers(write(TABLE), classes=["cat", "dogs"])
    read_answers(write(TABLE + "b.jpg,bob,dgo\n"))
    assert "answers.csv, line 7: 'dgo' is the label of this answer alone, near 'dog'" in capsys.readouterr().out
    read_answers(write("task,worker,label\n" + "".join(f"{k},{w},{label}\n" for k, label in enumerate(
        ("cat", "dog", "Cat", "sea lion", "sea_lion", "+1", "-1")) for w in "ab")))
    said = capsys.readouterr().out
    assert "'Cat' and 'cat' are two classes; is one of them misspelt?" in said
    assert said.count("warning") == 2 and "'sea lion' and 'sea_lion'" in said


def test_what_is_no_label(write, capsys):
    """In a column for each annotator, NA and such are no answers, as nothing is; in a table of answers they are a class, and
    said to be one. The rows' numbers that pandas writes are nobody's answers."""
    for nothing in ("NA", "N/A", "null", ""):
        answers = read_answers(write(f",task,ann,bob\n0,a,cat,{nothing}\n1,b,{nothing},dog\n2,c,cat,dog\n"))
        assert answers.annotators == ["ann", "bob"] and answers.classes == ["cat", "dog"] and len(answers) == 4
        assert answers.items == ["a", "b", "c"]
    with pytest.raises(UserError, match="line 2: -1 in column 'bob'; expected nothing where there is no answer"):
        read_answers(write("task,ann,bob\na,cat,-1\nb,-1,dog\nc,cat,dog\n"))
    capsys.readouterr()
    read_answers(write("task,worker,label\na,ann,cat\nb,ann,NA\na,bob,cat\nb,bob,NA\n"))
    assert "'NA' is a class, of 2 answers; if it is none, " in capsys.readouterr().out


@pytest.mark.parametrize("header, items", [("Item ID", "20341"), ("image_id", "20341"), ("crop no.", "12345")])
def test_ids_that_look_like_labels(write, header, items):
    """Items called by numbers, among them those of the classes: the column is called so, or they run on."""
    answers = read_answers(write(f"{header},ann,bob\n" + "".join(f"{k},{int(k) % 3},{int(k) % 3}\n" for k in items)))
    assert answers.annotators == ["ann", "bob"] and answers.classes == ["0", "1", "2"] and answers.items == list(items)
    scores = read_answers(write("ann,bob,cas\n4,3,3\n1,2,2\n5,3,3\n2,2,2\n3,2,3\n"))  # of finer steps than the others'
    assert scores.annotators == ["ann", "bob", "cas"] and len(scores) == 15
    ids = read_answers(write("ann,bob,cas\n1,1,0\n0,1,0\n2,2,1\n"))  # three labels that happen to differ
    assert ids.annotators == ["ann", "bob", "cas"] and ids.items == ["0", "1", "2"]


def test_annotators_who_seldom_meet(write):
    """Somebody who checked two items of another's, and who writes labels in capitals, is an annotator; so is, if the classes
    are named, who uses some alone."""
    checked = {3: "c3", 15: "c3"}
    part = read_answers(write("id,ann,bob\n" + "".join(f"i{k},c{k % 12},{checked.get(k, '')}\n" for k in range(36))))
    assert part.annotators == ["ann", "bob"] and len(part) == 38
    capitals = read_answers(write("id,ann,bob\n" + "".join(f"i{k},c{k},C{k}\n" for k in range(3))))
    assert capitals.annotators == ["ann", "bob"] and len(capitals.classes) == 6
    own = "id,ann,bob\na,cat,cat\nb,dog,chien\nc,bird,oiseau\nd,cat,chat\ne,cat,vache\nf,cat,porc\n"
    with pytest.raises(UserError, match="hardly anything in 'bob' is in another; if it is labels, name all .* in --classes"):
        read_answers(write(own))
    names = ["cat", "dog", "bird", "chien", "oiseau", "chat", "vache", "porc"]
    assert len(read_answers(write(own), classes=names)) == 12


def test_tables_as_programs_write_them(write):
    """The rows' numbers, an empty column at the end, whole numbers that gaps have given a point."""
    for content in ("Unnamed: 0,task,ann,bob\n0,a,1,0\n1,b,0,1\n2,c,1,1\n", "task,ann,bob,\na,1,0,\nb,0,1,\nc,1,1,\n",
                    "task,ann,bob\na,1.0,0\nb,0.0,1\nc,1.0,1\nd,,1\n"):
        answers = read_answers(write(content))
        assert answers.annotators == ["ann", "bob"] and answers.classes == ["0", "1"]
        assert answers.items[:3] == ["a", "b", "c"]
        assert answers.label[:6].tolist() == [1, 0, 0, 1, 1, 1]


def test_thousands_of_annotators_in_columns(write):
    names = [f"annotator {k:05d} of the second round" for k in range(3_000)]
    answers = read_answers(write(",".join(["task", *names]) + "\n" + ",".join(["a"] + ["0", "1"] * 1_500) + "\n"))
    assert answers.annotators == names and answers.label.tolist() == [0, 1] * 1_500


def test_an_item_that_nobody_answered(write):
    answers = read_answers(write(WIDE + "z.jpg,,\n"))
    assert answers.place_of_item(answers.items.index("z.jpg")).endswith("answers.csv")
    assert answers.place_of_item(0).endswith("answers.csv, line 2")


def test_json_has_no_columns(write):
    with pytest.raises(UserError, match="--columns a b c: .* is JSON"):
        read_answers(write('{"a": {"x": "cat"}}'), columns=["a", "b", "c"])


def test_a_table_of_labels(write):
    names, labels, lines = read_labels(write("item,class\nb , 2.0\n\na,1\n"), ["1", "2"], "no answer has")
    assert names == ["b", "a"] and labels.tolist() == [1, 0] and lines.tolist() == [2, 4]
    names, labels, _ = read_labels(write("task,given_label,true_label\na,cat,dog\n"), ["cat", "dog"], "no answer has")
    assert names == ["a"] and labels.tolist() == [1]  # not what the crowd said
    names, labels, lines = read_labels(write("item,class\nb,2.0\nb,2\na,1\n"), ["1", "2"], "no answer has")
    assert names == ["b", "a"] and labels.tolist() == [1, 0] and lines.tolist() == [2, 4]
    names, labels, _ = read_labels(write("task,worker,gold\na,x,cat\na,y,cat\nb,x,dog\n"), ["cat", "dog"], "no answer has")
    assert names == ["a", "b"] and labels.tolist() == [0, 1]  # a long table with the truth in each row
    for content, message in (("task,label\na,cot\n", "line 2: 'cot', which no answer has, near 'cat'; expected one of cat"),
                             ("task,label\na,cat\na,dog\n", "line 3: 'a' a second time, with another label"),
                             ("task,lable\na,cat\n", "line 1: columns task, lable; expected task and label")):
        with pytest.raises(UserError, match=message):
            read_labels(write(content), ["cat", "dog"], "no answer has")
