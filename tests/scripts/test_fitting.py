"""From Python: fit, predict, save, load."""
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from common.system.errors import UserError
from conftest import ROOT
from OwnData import aggregate, fit, fitting, load


@pytest.fixture(scope="module")
def tables():
    """(answers, features): DataFrames of 60 items of two classes and four annotators, 50 of them answered."""
    random = np.random.default_rng(0)
    truth = random.integers(2, size=60)
    features = pd.DataFrame(random.normal(size=(60, 3)) + 2 * truth[:, None], columns=["a", "b", "c"],
                            index=pd.Index([f"item{i}" for i in range(60)], name="task"))
    answers = pd.DataFrame([(f"item{i}", f"worker{m}", "cat" if truth[i] ^ (random.random() < .2) else "dog")
                            for i in range(50) for m in range(4)], columns=["task", "worker", "label"])
    return answers, features


@pytest.fixture(scope="module")
def fitted(tables):
    answers, features = tables
    return fit(answers, features=features, methods=["majority-vote", "max-mig"], epochs=4, folds=2, device="cpu")


def test_fit_gives_tables_and_a_classifier(tables, fitted):
    answers, features = tables
    assert set(fitted.labels["item"]) == set(answers["task"]) and set(fitted.labels["label"]) == {"cat", "dog"}
    assert list(fitted.annotators["annotator"]) == [f"worker{m}" for m in range(4)]
    assert fitted.report.read_text().startswith("<!doctype html>") and fitted.summary["items"] == 50
    predicted = fitted.predict(features=features)
    assert list(predicted.columns) == ["item", "label", "confidence", "cat", "dog"] and len(predicted) == 60
    np.testing.assert_allclose(predicted[["cat", "dog"]].sum(axis=1), 1, atol=1e-5)


def test_answers_in_several_tables(tables):
    answers, features = tables
    parts = answers[answers["worker"] != "worker0"], answers[answers["worker"] == "worker0"]
    done = fit(list(parts), features=features, methods="majority-vote", epochs=1, folds=2, device="cpu")
    assert set(done.annotators["annotator"]) == {f"worker{m}" for m in range(4)} and len(done.labels) == 50


def test_a_saved_classifier_predicts_the_same(tables, fitted, tmp_path):
    fitted.save(tmp_path / "model.pt")
    features = tables[1]
    for classifier in (load(tmp_path / "model.pt"), load(fitted.folder)):
        pd.testing.assert_frame_equal(classifier.predict(features=features), fitted.predict(features=features))
    array = fitted.predict(features=features.to_numpy(), items=list(features.index))
    pd.testing.assert_frame_equal(array, fitted.predict(features=features))


def test_names_stay_text(tables, capsys):
    """Classes, annotators and items called 01, 1 and NA; items and groups as arrays and DataFrames; a flag of value 0."""
    answers, features = tables
    answers = answers.assign(label=answers["label"].map({"cat": "01", "dog": "NA"}),
                             worker=answers["worker"].map(dict(zip(answers["worker"].unique(), ["NA", "1", "02", "x"],
                                                                   strict=True))))
    groups = pd.DataFrame({"task": features.index, "group": np.arange(60) // 2})
    done = fit(answers, features=features.to_numpy(), items=features.index.to_numpy(), groups=groups, seed=0, folds=2,
               methods=["majority-vote"], epochs=1, device="cpu", classes=["01", "NA"])
    assert "python3 reproduce.py" not in capsys.readouterr().out  # the files are gone
    assert set(done.labels["label"]) == {"01", "NA"} == set(done.labels["dawid-skene"])
    assert set(done.annotators["annotator"]) == {"NA", "1", "02", "x"} == set(done.confusion["annotator"])
    assert set(done.confusion["true class"]) == {"01", "NA"} and done.labels["confidence"].dtype == float
    assert done.agreement["kappa"].dtype == float and set(done.agreement["first"]) <= {"NA", "1", "02", "x"}
    assert set(done.predict(features=features.to_numpy(), items=list(features.index))["label"]) <= {"01", "NA"}
    with pytest.raises(UserError, match="^features.csv: feature a of item 'item0' is nan"):
        fit(answers, features=features.assign(a=np.nan), device="cpu")
    with pytest.raises(UserError, match="--slice is for images"):
        fit(answers, features=features, slice=0, device="cpu")


def test_answers_are_read_as_aggregate_reads_them(tables):
    """Whole numbers in a column of floats, and lists of answers in cells."""
    random = np.random.default_rng(0)
    features = pd.DataFrame({"task": range(20), "x": random.normal(size=20)})
    floats = pd.DataFrame([(float(k), w, k % 2) for k in range(20) for w in "abc"], columns=["task", "worker", "label"])
    lists = pd.DataFrame({"uid": range(20), "annotators": [["a", "b", "c"]] * 20,
                          "labels": [[k % 2] * 3 for k in range(20)]})
    for answers in (floats, lists):
        done = fit(answers, features=features, methods=["majority-vote"], epochs=1, folds=2, device="cpu")
        assert done.labels["item"].tolist() == aggregate(answers).labels["item"].tolist() == list(map(str, range(20)))


def test_no_cache_is_left_where_none_is_wanted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    for k in range(12):
        Image.fromarray(np.full((12, 12), k * 10, np.uint8)).save(tmp_path / "images" / f"{k}.png")
    answers = pd.DataFrame([(f"{k}.png", w, k // 6) for k in range(12) for w in "abc"], columns=["task", "worker", "label"])
    done = fit(answers, images=tmp_path / "images", methods=["majority-vote"], epochs=1, folds=2, device="cpu", cache="none")
    done.predict(images=tmp_path / "images")
    assert not list(tmp_path.rglob("*.pixels"))
    load(done.folder).predict(images=tmp_path / "images", cache=str(tmp_path / "own"))
    assert [file.parent.name for file in tmp_path.rglob("*.pixels")] == ["own"]


def test_the_truth_does_not_choose_the_training_items(tables):
    answers, features = tables
    items = answers["task"].unique()
    truths = [pd.DataFrame({"task": items, "label": np.random.default_rng(seed).choice(["cat", "dog"], 50, p=[.1, .9])})
              for seed in (0, 1)]
    first, *others = (fit(answers, features=features, truth=truth, methods=["majority-vote"], epochs=1, folds=2,
                          device="cpu", train_size=20).labels["item"].tolist() for truth in (None, *truths))
    assert len(first) == 20 and all(other == first for other in others)


@pytest.mark.parametrize("classes", [("first", "flag"), ("annotator", "true class"), ("item", "p_item"),
                                     ("label", "p_label")])
def test_classes_that_are_called_like_columns(tables, classes):
    answers, features = tables
    answers = answers.assign(label=answers["label"].map(dict(zip(("cat", "dog"), classes, strict=True))))
    done = fit(answers, features=features, methods=["majority-vote"], epochs=1, folds=2, device="cpu")
    predicted, alone = done.predict(features=features), aggregate(answers)
    at = list(alone.labels.columns).index("agreement") + 1
    for table, of_classes in ((predicted, predicted.columns[3:]), (done.confusion, done.confusion.columns[2:]),
                              (alone.confusion, alone.confusion.columns[2:]),
                              *((each.labels, each.labels.columns[at:at + 2]) for each in (done, alone))):
        assert table.columns.is_unique and all(map(pd.api.types.is_float_dtype, table[of_classes].dtypes))
        np.testing.assert_allclose(table[of_classes].sum(axis=1), 1, atol=1e-3)
    assert set(predicted["item"]) == set(features.index) and set(predicted["label"]) <= set(classes)
    assert set(alone.labels["label"]) == set(classes) == set(alone.confusion["true class"])


@pytest.mark.parametrize("frame, named", [
    (pd.DataFrame({"task": ["a"], "x": [1.]}), False), (pd.DataFrame({"photo": ["a"], "x": [1.]}), False),
    (pd.DataFrame({"x": [1.]}), True), (pd.DataFrame({"x": [1]}, index=["a"]), True),
    (pd.DataFrame({"photo": ["a"], "x": [1.]}, index=[7]), True), (pd.DataFrame({"task": ["a"]}, index=[7]), False),
])
def test_which_index_holds_names(frame, named):
    assert fitting.has_names(frame) == named


def test_what_is_wrong_is_said():
    with pytest.raises(UserError, match="no such file"):
        load("nowhere")
    with pytest.raises(UserError, match="answers: a dict; expected"):
        fit({"task": []}, features="f.csv")
    with pytest.raises(UserError, match="fit: no items; expected images, features or texts, or aggregate"):
        fit("answers.csv")


def test_the_page_s_examples_run(tables, tmp_path, monkeypatch):
    """The Python blocks of docs/python.md, one after another."""
    monkeypatch.chdir(tmp_path)
    answers, features = tables
    names = {"answers": answers, "features": features, "new_features": features[50:]}
    names |= {"item": np.arange(6) % 3, "annotator": np.arange(6) // 3, "label": np.array([0, 1, 0, 0, 1, 1]), "items": 3,
              "annotators": 2, "classes": 2}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block.replace("epochs=20", 'epochs=2, folds=2, methods=["max-mig"]'), names)
    assert (tmp_path / "model.pt").exists() and names["posterior"].shape == (3, 2)


def test_gold_labels_are_not_agreement():
    """The coefficients, and what one more answer says, are of the annotators without the gold labels."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 60)
    rows = [(f"item {i}", worker, ["no", "yes"][truth[i] if random.random() < .6 else 1 - truth[i]])
            for i in range(60) for worker in ("ann", "bob", "cy")]
    answers = pd.DataFrame(rows, columns=["task", "worker", "label"])
    gold = pd.DataFrame({"task": [f"item {i}" for i in range(30)], "label": np.array(["no", "yes"])[truth[:30]]})
    alone, helped = aggregate(answers), aggregate(answers, gold=gold)
    assert helped.summary["agreement"] == alone.summary["agreement"]
    assert helped.next_items["gain_bits"].max() < .1  # an annotator of 60 % accuracy
