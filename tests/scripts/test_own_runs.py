"""OwnData's scripts as users run them, to the last file: the shipped example, features, texts, gold, bad input."""
import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from common.output.model import load_model
from common.output.model_file import read_model, write_model
from common.system.errors import UserError
from common.training import estimates, finish
from conftest import ROOT, load_script
from OwnData import aggregate, own_data
from OwnData import options as own_options

MAIN, PREDICT = load_script("OwnData"), load_script("OwnData", "predict.py")
EXAMPLE = ROOT / "OwnData" / "example"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def crowd(tmp_path, kind="features", test=20, classes=("no", "maybe", "yes")):
    """The flags of 80 items of three classes in a table, answered by four people with string names, three answers an item,
    and `test` items more that nobody answered; the truth of all."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 80 + test)
    names = [f"item {k}" for k in range(len(truth))]
    classes, people = np.array(classes), ["ann", "bob", "cas", "dee"]
    answers = [(names[k], person, classes[truth[k] if random.random() < .85 else random.integers(3)])
               for k in range(80) for person in random.permutation(people)[:3]]
    if kind == "features":
        values = 1000 * (2 * np.eye(3)[truth] + random.normal(size=(len(truth), 3)))
        items = ("task", "x", "y", "z"), [(name, *row) for name, row in zip(names, values.tolist(), strict=True)]
    else:
        words = [("bad", "dull", "worst"), ("fair", "so", "middling"), ("good", "fine", "best")]
        items = ("task", "text"), [(name, " ".join([*random.choice(words[t], 4), *random.choice(["film", "the", "of"], 3)]))
                                   for name, t in zip(names, truth, strict=True)]
    for file, header, table in (("answers", ("task", "worker", "label"), answers), (kind, *items),
                                ("truth", ("task", "label"), list(zip(names, classes[truth], strict=True)))):
        with open(tmp_path / f"{file}.csv", "w", newline="") as opened:
            csv.writer(opened).writerows([header, *table])
    return ["--answers", "answers.csv", f"--{kind}", f"{kind}.csv", "--truth", "truth.csv"]


def test_the_readme_s_example(tmp_path, shell):
    """The lines of the README where the repository is; with fewer methods and folds, for the time they take. The first in a
    shell."""
    text = (ROOT / "README.md").read_text()
    lines = re.findall(r"^    (python3 OwnData/(?:main|predict).py .*example.*)$", text, re.M)
    assert len(lines) >= 2
    (tmp_path / "OwnData").symlink_to(ROOT / "OwnData")
    subprocess.run(lines[0].replace("python3", sys.executable, 1), shell=True, check=True)
    for line in lines[1:]:
        _, script, *flags = shlex.split(line)
        if script.endswith("main.py") and "--images" in flags:
            flags += ["--methods", "majority-vote", "max-mig", "--folds", "2"]
        done = shell(script, *flags)
        assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "example-seed0"
    assert {"labels.csv", "annotators.csv", "confusion.csv", "predictions.csv", "model.pt", "report.html",
            "summary.json"} <= {file.name for file in run.iterdir()}
    summary = json.loads((run / "summary.json").read_text())
    assert summary["items"] == 90 and summary["methods"]["max-mig"]["last"]["test_accuracy"] > .8
    own = {row["item"]: row for row in rows(run / "predictions.csv")}
    again = {row["item"]: row for row in rows(tmp_path / "predictions.csv")}
    assert len(own) == 30 and len(again) == 120 and own.keys() <= again.keys()
    for name, row in own.items():  # predict.py gives the run's own numbers
        assert all(abs(float(row[label]) - float(again[name][label])) < 1e-5 for label in ("one", "seven", "zero"))
        assert row["label"] == again[name]["label"]
    assert {row["annotator"] for row in rows(run / "annotators.csv")} == {"ada", "ben", "cleo", "dan", "eve", "finn", "gus",
                                                                          "hana"}
    html = (run / "report.html").read_text()
    assert "data:image/png;base64," in html and "gus" in html and "digit-" in html and not re.search(
        r'(src|href)="(?!data:)', html)


def test_the_example_is_made_anew(tmp_path):
    shutil.copy(EXAMPLE / "make.py", tmp_path)
    subprocess.run([sys.executable, "make.py"], check=True)
    for file in ("answers.csv", "truth.csv"):
        assert (tmp_path / file).read_bytes() == (EXAMPLE / file).read_bytes()
    made = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert made == sorted(path.name for path in (EXAMPLE / "images").iterdir())
    first = [np.asarray(Image.open(folder / "images" / made[0])) for folder in (tmp_path, EXAMPLE)]
    assert np.array_equal(*first)


def test_answers_alone(tmp_path, capsys):
    crowd(tmp_path)
    answered = {row["task"] for row in rows(tmp_path / "answers.csv")}
    truth = {row["task"]: row["label"] for row in rows(tmp_path / "truth.csv") if row["task"] in answered}
    with open(tmp_path / "known.csv", "w", newline="") as file:
        csv.writer(file).writerows([("task", "label"), *truth.items()])
    flags = ["--answers", "answers.csv", "--truth", "known.csv", "--out", "run"]
    assert MAIN.main(flags) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert set(summary["methods"]) == {"majority-vote", "dawid-skene", "one-coin", "label-model"}
    labels = rows(tmp_path / "run" / "labels.csv")
    right = np.mean([truth[row["item"]] == row["label"] for row in labels])
    assert len(labels) == len(answered) == 80 and right == pytest.approx(summary["label_accuracy"])
    assert right > .9  # the votes: .96
    assert {row["annotator"] for row in rows(tmp_path / "run" / "annotators.csv")} == {"ann", "bob", "cas", "dee"}
    assert {path.name for path in (tmp_path / "run").iterdir()} - {"claim.lock"} == {
        "agreement.csv", "annotators.csv", "config.json", "confusion.csv", "confusion.npz", "confusion.png", "labels.csv",
        "next.csv", "report.html", "summary.json"}
    gains = [float(row["gain_bits"]) for row in rows(tmp_path / "run" / "next.csv")]
    assert gains == sorted(gains, reverse=True) and len(gains) == 80
    page = (tmp_path / "run" / "report.html").read_text()
    assert "What to ask next" in page and "Krippendorff" in page and "The classifier is" not in page
    assert f"labels.csv {100 * right:.2f}" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match="unless it had answers alone"):
        PREDICT.main(["run", "--features", "features.csv"])
    assert MAIN.main(flags) == 0 and "this run is done" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds another run: it is without --features, and this one with"):
        MAIN.main([*flags, "--features", "features.csv"])
    for flag, value in (("--network", "vgg16"), ("--epochs", "5"), ("--folds", "3")):
        with pytest.raises(UserError, match=f"{flag} {value}: nothing is trained on answers alone"):
            MAIN.main([*flags, flag, value, "--fresh"])
    assert MAIN.main([*flags, "--fresh", "--methods", "glad", "--label-source", "mace"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["label_source"] == "mace" and {"glad", "mace"} < set(summary["methods"])
    capsys.readouterr()
    assert MAIN.main([*flags, "--truth", "truth.csv", "--out", "all"]) == 0  # items that nobody answered score nothing
    assert "truth.csv: 20 of 100 items have no answers" in capsys.readouterr().out
    assert rows(tmp_path / "all" / "labels.csv") == labels
    (tmp_path / "known.csv").write_text("task,label\nelsewhere,yes\n")
    with pytest.raises(UserError, match="'elsewhere', which is not in --answers answers.csv"):
        MAIN.main([*flags, "--fresh"])


@pytest.mark.parametrize("files, name", [(["a/dr.mueller.csv.gz"], "dr.mueller"), (["a/answers.CSV"], "a"),
                                         (["a/x.csv", "a/y.csv"], "a"), (["my answers.csv"], "my-answers")])
def test_a_run_is_named_by_its_answers(files, name):
    assert own_options.name_of(own_options.OwnOptions(answers=files)) == name


def test_one_item_with_two_labels(tmp_path):
    """A coefficient of agreement has no interval then."""
    labels = "".join(f"i{k},{'ab'[k % 2]},{k % 3}\n" for k in range(20))
    (tmp_path / "answers.csv").write_text(f"task,worker,label\n{labels}i0,b,1\n")
    assert MAIN.main(["--answers", "answers.csv", "--out", "run"]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert re.search(r"Krippendorff.*alpha 0\.00\. Cohen", page)
    assert MAIN.read_options(["--answers", "answers.csv"]).reproduce(own_options.PROTOCOL) == (
        "python3 reproduce.py own --answers answers.csv")


def test_aggregate_is_the_run_on_a_table(tmp_path):
    """The same labels and annotators from a DataFrame, from a wide one, and from the command line."""
    crowd(tmp_path)
    assert MAIN.main(["--answers", "answers.csv", "--out", "run"]) == 0
    table = pd.read_csv("answers.csv")
    found = aggregate(table)
    written = pd.read_csv(tmp_path / "run" / "labels.csv")
    assert found.labels["item"].tolist() == written["item"].tolist()
    assert found.labels["label"].tolist() == written["label"].tolist()
    np.testing.assert_allclose(found.labels["confidence"], written["confidence"])
    people = pd.read_csv(tmp_path / "run" / "annotators.csv")
    np.testing.assert_allclose(found.annotators["estimated_accuracy"], people["estimated_accuracy"])
    assert found.summary["agreement"]["krippendorff_alpha"]["value"] > 0 and len(found.next_items) == len(written)
    task, worker, label = table.columns
    wide = aggregate(table.pivot(index=task, columns=worker, values=label).reset_index())
    assert dict(zip(wide.labels["item"], wide.labels["label"], strict=True)) == dict(
        zip(found.labels["item"], found.labels["label"], strict=True))
    with pytest.raises(UserError, match="answers, line 1: columns .*; expected task, worker and label"):
        aggregate(pd.DataFrame({"worker": ["a", "b"], "label": [0, 1]}))


@pytest.mark.parametrize("table", [
    lambda table: table.assign(label=table["label"].astype("category")),
    lambda table: table.assign(task=table["task"].astype(float)),
    lambda table: table.assign(label=table["label"].astype("Int64")),
    lambda table: table.pivot(index="task", columns="worker", values="label"),
    lambda table: table.pivot(index="task", columns="worker", values="label").reset_index().convert_dtypes(),
], ids=["categories", "numbers that were once incomplete", "nullable", "wide, names in the index", "wide, nullable"])
def test_tables_as_pandas_has_them(table):
    """Whatever the types of its columns, a table gives the same labels under the same names."""
    long = pd.DataFrame([(k, worker, (k + (worker == "c") * (k % 5 == 0)) % 2) for k in range(20) for worker in "abc"],
                        columns=["task", "worker", "label"])
    found, expected = aggregate(table(long)), aggregate(long)
    assert dict(zip(found.labels["item"], found.labels["label"], strict=True)) == dict(
        zip(expected.labels["item"], expected.labels["label"], strict=True))
    assert set(expected.labels["item"]) == {str(k) for k in range(20)}


def test_arguments_that_aggregate_refuses():
    table = pd.DataFrame([(k, worker, k % 2) for k in range(20) for worker in "abc"], columns=["task", "worker", "label"])
    assert aggregate(table, classes=[1, 0]).labels["label"].tolist() == aggregate(table).labels["label"].tolist()
    for arguments, message in (((None,), "answers: None; expected a DataFrame"),
                               (({"a": 1},), "answers: a dict; expected a DataFrame"),
                               ((pd.concat([table, table], axis=1),), "two columns are named 'task'")):
        with pytest.raises(UserError, match=message):
            aggregate(*arguments)
    assert len(aggregate(table, methods=None).labels) == 20
    with pytest.raises(UserError, match="answers: an empty list"):
        aggregate([])
    for keywords, message in (({"methods": "none"}, "there is no such estimate of answers alone"),
                              ({"duplicates": "x"}, "expected one of last, first, count, error"),
                              ({"classes": "01"}, "classes: '01'; expected a list"),
                              ({"truth": table["label"]}, "truth: a Series; expected a DataFrame")):
        with pytest.raises(UserError, match=message):
            aggregate(table, **keywords)


def test_answers_that_all_count_in_pairs():
    """Repeated answers that all count are one label of a pair of annotators."""
    table = pd.DataFrame([(k, worker, k % 2) for k in range(20) for worker in "abc"], columns=["task", "worker", "label"])
    found = aggregate(pd.concat([table, table.head(9)]), duplicates="count")
    assert found.agreement["items"].tolist() == [20] * 3 and (found.agreement["kappa"] == 1).all()


def test_repeated_answers_count_once(tmp_path, capsys):
    """Identical ones without a word of doubt; of others the last, or what --duplicates says."""
    table = "task,worker,label\n" + "".join(f"{k},{w},{k % 2}\n" for k in range(6) for w in "abc") + "0,a,0\n1,a,0\n"
    (tmp_path / "answers.csv").write_text(table)
    flags = ["--answers", str(tmp_path / "answers.csv"), "--check"]
    assert MAIN.main(flags) == 0
    said = capsys.readouterr().out
    assert "2 answers of a worker who had answered the item before; identical ones count once" in said
    assert "1 times they differ, and the last one in the file counts" in said and "18 answers" in said
    assert MAIN.main([*flags, "--duplicates", "count"]) == 0 and "20 answers" in capsys.readouterr().out
    with pytest.raises(UserError, match="'a' answers '0' a second time, 2 such answers in all"):
        MAIN.main([*flags, "--duplicates", "error"])


def test_classes_with_the_names_of_columns_and_numbers(tmp_path):
    """And KD-Crowd on Doctor Net, whose classifier has a head for each annotator, as one that predicts."""
    flags = crowd(tmp_path, classes=("nan", "truth", "label"))
    assert MAIN.main([*flags, "--out", "run", "--device", "cpu", "--epochs", "2", "--select", "none", "--methods",
                      "kd-crowd-doctor-net"]) == 0
    labels, predicted = rows("run/labels.csv"), rows("run/predictions.csv")
    assert {row["truth"] for row in labels} == {"nan", "truth", "label"} == {row["truth"] for row in predicted}
    for row in [*labels, *predicted]:
        shares = {"nan": row["nan"], "truth": row["p_truth"], "label": row["p_label"]}
        assert float(shares[row["label"]]) == pytest.approx(float(row["confidence"]), abs=1e-5)
    assert load_model("run/model.pt").networks[0]["heads"].shape == (4,)
    assert PREDICT.main(["run", "--features", "features.csv", "--device", "cpu", "--out", "p.csv"]) == 0
    again = {row["item"]: row for row in rows("p.csv")}
    assert all(abs(float(row["nan"]) - float(again[row["item"]]["nan"])) < 1e-5 for row in predicted)


@pytest.mark.parametrize("kind", ["features", "texts"])
def test_tables(tmp_path, kind, capsys):
    flags = crowd(tmp_path, kind)
    assert MAIN.main([*flags, "--out", "run", "--device", "cpu", "--epochs", "20", "--folds", "2"]) == 0
    said = capsys.readouterr().out
    assert MAIN.main([*flags, "--out", "run", "--device", "cpu", "--epochs", "20", "--folds", "2"]) == 0
    assert "this run is done" in capsys.readouterr().out
    assert "80 training items, 20 test items, 3 classes, 4 annotators, 240 labels" in said and "reproduce.py own" in said
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert set(summary["methods"]) == {*own_options.METHODS, "max-mig-forecaster"}
    assert summary["methods"]["max-mig"]["last"]["test_accuracy"] > .6
    assert PREDICT.main(["run", f"--{kind}", f"{kind}.csv", "--device", "cpu", "--out", "p.csv"]) == 0
    again = {row["item"]: row for row in rows("p.csv")}
    own = rows("run/predictions.csv")
    assert len(own) == 20 and list(own[0]) == ["item", "truth", "label", "confidence", "maybe", "no", "yes"]
    assert all(abs(float(row["yes"]) - float(again[row["item"]]["yes"])) < 1e-5 for row in own)
    # the classifier is that of several methods, as the summary says
    shares, model = summary["ensemble"]["shares"], load_model("run/model.pt")
    assert model.method == "ensemble" and len(model.networks) == 2 * len(shares) and len(shares) > 1
    assert sum(shares.values()) == pytest.approx(1) == sum(network["weight"] for network in model.networks)
    right = np.mean([row["truth"] == row["label"] for row in own])
    assert right == pytest.approx(summary["ensemble"]["test_accuracy"])
    assert f"the classifier is an ensemble of {', '.join(shares)}: {100 * right:.2f} % test accuracy" in said
    matrix = rows("run/confusion.csv")
    assert len(matrix) == 12 and list(matrix[0]) == ["annotator", "true class", "maybe", "no", "yes"]
    assert np.isclose([sum(float(row[name]) for name in ("maybe", "no", "yes")) for row in matrix], 1, atol=1e-3).all()
    html = (tmp_path / "run" / "report.html").read_text()
    assert ("<blockquote>" in html) == (kind == "texts")


@pytest.mark.parametrize("method", ["doctor-net", "crowd-layer"])
def test_each_method_s_classifier_is_kept(tmp_path, method):
    flags = crowd(tmp_path)
    assert MAIN.main([*flags, "--out", "run", "--device", "cpu", "--epochs", "4", "--methods", method]) == 0
    assert load_model("run/model.pt").method == method
    accuracy = np.mean([row["truth"] == row["label"] for row in rows("run/predictions.csv")])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert accuracy == pytest.approx(summary["methods"][method]["selected"]["test_accuracy"])


def test_a_large_classifier_is_of_one_method(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(finish, "LARGEST_MODEL", 1e4)
    monkeypatch.setattr(estimates, "combine", lambda model, scores: (
        sum(score.calibrated for score in scores.values()) / len(scores), {name: 1 / len(scores) for name in scores}))
    flags = [*crowd(tmp_path), "--device", "cpu", "--epochs", "20", "--methods", "aggnet,max-mig", "--out", "run"]
    assert MAIN.main(flags) == 0
    best = json.loads((tmp_path / "run" / "summary.json").read_text())["best_method"]
    assert load_model("run/model.pt").method == best
    assert f"the classifier is {best}'s: the ensemble's would take more than 0 MB" in capsys.readouterr().out


def test_label_source_a_method_of_choice(tmp_path):
    flags = [*crowd(tmp_path), "--device", "cpu", "--epochs", "2", "--methods", "majority-vote,aggnet,max-mig"]
    assert MAIN.main([*flags, "--out", "run", "--label-source", "aggnet"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["label_source"] == summary["classifier"] == load_model("run/model.pt").method == "aggnet"
    html = " ".join((tmp_path / "run" / "report.html").read_text().split())
    assert "classifier is that of <b>aggnet</b>" in html and '<tr class="kept"><td>aggnet' in html


def test_several_networks_are_averaged(tmp_path):
    """model.pt may hold a network for each fold."""
    from dataclasses import replace
    flags = crowd(tmp_path)
    predictions = []
    for seed in (0, 1):
        MAIN.main([*flags, "--out", f"run{seed}", "--device", "cpu", "--epochs", "2", "--methods", "majority-vote", "--seed",
                   str(seed)])
        predictions.append([float(row["yes"]) for row in rows(f"run{seed}/predictions.csv")])
    one, two = load_model("run0/model.pt"), load_model("run1/model.pt")
    with open("both.pt", "wb") as file:
        halves = [network | {"weight": network["weight"] / 2} for network in one.networks + two.networks]
        replace(one, networks=halves).save(file)
    PREDICT.main(["both.pt", "--features", "features.csv", "--device", "cpu"])
    both = [float(row["yes"]) for row in rows("predictions.csv")][80:]
    assert np.allclose(both, np.mean(predictions, 0), atol=2e-6) and not np.allclose(*predictions, atol=1e-3)


def test_no_truth_and_nothing_to_test_on(tmp_path, capsys):
    flags = crowd(tmp_path, test=0)[:4]
    assert MAIN.main([*flags, "--out", "run", "--device", "cpu", "--epochs", "2"]) == 0
    assert not (tmp_path / "run" / "predictions.csv").exists() and len(rows("run/labels.csv")) == 80
    assert load_model("run/model.pt").classes == ["maybe", "no", "yes"]
    said = capsys.readouterr().out
    assert "held-out log-likelihood by epoch" in said and "test accuracy by epoch" not in said
    best = max((row for row in rows("run/metrics.csv") if row["epoch"] == "2"),
               key=lambda row: float(row["held_out_log_likelihood"]))
    assert f"    2  {best['method']} {float(best['held_out_log_likelihood']):.4f}" in said


def test_gold_is_learnt_from(tmp_path):
    """Where everybody is wrong, the gold labels are what the items end up with; they score nobody."""
    flags = crowd(tmp_path)
    truth = {row["task"]: row["label"] for row in rows("truth.csv")}
    answers = rows("answers.csv")
    for answer in answers[:60]:
        answer["label"] = "no" if truth[answer["task"]] != "no" else "yes"
    for file, table in (("answers.csv", answers), ("gold.csv", [{"task": f"item {k}", "label": truth[f"item {k}"]}
                                                                 for k in [*range(20), 81]])):
        with open(file, "w", newline="") as opened:
            writer = csv.DictWriter(opened, table[0])
            writer.writeheader()
            writer.writerows(table)
    options = MAIN.parse(own_options.OwnOptions, own_options.PROTOCOL, "", [*flags, "--gold", "gold.csv"])
    dataset, _ = own_data.load(options)
    train = dataset.train
    assert len(train) == 81 and len(dataset.test) == 19 and dataset.annotator_names[-1] == "gold"
    known = [name in {f"item {k}" for k in [*range(20), 81]} for name in train.names]
    votes = [dataset.class_names[label] for label in train.crowd.votes().argmax(1).tolist()]
    assert all(vote == truth[name] for vote, name, is_known in zip(votes, train.names, known, strict=True) if is_known)
    assert (train.truth[torch.tensor(known)] == -1).all() and (train.truth >= 0).sum() == 60
    assert MAIN.main([*flags, "--gold", "gold.csv", "--epochs", "1", "--methods", "one-coin", "--out", "run"]) == 0
    gold = next(row for row in rows("run/annotators.csv") if row["annotator"] == "gold")
    assert (gold["labels"], gold["estimated_accuracy"], gold["flag"]) == ("21", "1.0", "")  # its labels are not repeated
    labels = {row["item"]: row for row in rows("run/labels.csv")}
    for k in (*range(20), 81):  # whoever says what
        row = labels[f"item {k}"]
        assert {row["label"], row["one-coin"], row["one-coin-posterior"]} == {truth[f"item {k}"]}
        assert row["confidence"] == "1.0"
    answered = {row["task"] for row in answers}
    assert {row["answers"] for row in rows("run/labels.csv") if row["item"] in answered} == {"3", "4"}
    html = (tmp_path / "run" / "report.html").read_text()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "gold, gold" not in html and "<span>21 answers</span>" in html and summary["labels"] == len(answers) + 21


def test_second_answers_that_count(tmp_path, capsys):
    """Each in the votes, as in training, and in the annotator's number."""
    flags = crowd(tmp_path)
    answers = [answer for k, answer in enumerate(rows("answers.csv")) if k % 3]  # two of each item's
    first = next(answer for answer in answers if answer["label"] == "yes")
    with open("answers.csv", "w", newline="") as file:
        csv.writer(file).writerows([first, *(answer.values() for answer in [*answers, first, first, first])])
    assert MAIN.main([*flags, "--duplicates", "count", "--epochs", "1", "--methods", "one-coin", "--out", "run"]) == 0
    labels, votes = rows("run/labels.csv"), Counter((row["task"], row["label"]) for row in rows("answers.csv"))
    outvoted = sum(votes[row["item"], row["label"]] < max(votes[row["item"], name] for name in ("no", "maybe", "yes"))
                   for row in labels)
    assert f"{outvoted} of 80 labels have fewer votes than another class" in capsys.readouterr().out
    assert outvoted < sum(row["label"] != row["majority_vote"] for row in labels)  # those that are tied with another
    item = next(row for row in labels if row["item"] == first["task"])
    assert (item["answers"], item["majority_vote"]) == ("5", "yes")
    labels = {row["annotator"]: int(row["labels"]) for row in rows("run/annotators.csv")}
    assert labels[first["worker"]] == sum(answer["worker"] == first["worker"] for answer in answers) + 3


def test_predictions_replace_no_file_that_is_read(tmp_path):
    (tmp_path / "x.csv").write_text("task,a\n")
    (tmp_path / "model.pt").write_text("")
    with pytest.raises(UserError, match="--out .: a folder; expected the name of a table"):
        PREDICT.main([str(tmp_path), "--features", "x.csv", "--out", "."])
    for out, flags in (("x.csv", ["--features", "./x.csv"]), ("x.csv", ["--texts", str(tmp_path / "x.csv")]),
                       ("x.csv", ["--features", "x.npy", "--items", "x.csv"]), ("model.pt", ["--features", "x.csv"])):
        with pytest.raises(UserError, match=f"--out {out}: the file of .*, which would be lost"):
            PREDICT.main([str(tmp_path), *flags, "--out", out])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="--out .*labels.csv: a file of a run, which would be lost"):
        PREDICT.main([str(tmp_path), "--features", "x.csv", "--out", str(tmp_path / "labels.csv")])


def test_a_run_replaces_no_file_of_others(tmp_path):
    flags = crowd(tmp_path)
    (tmp_path / "labels.csv").write_bytes((tmp_path / "answers.csv").read_bytes())
    for more in ((), ("--fresh",), ("--answers", "labels.csv")):
        with pytest.raises(UserError, match="--out .*: holds labels.csv, which is no run's and would be lost"):
            MAIN.main([*flags, "--out", str(tmp_path), *more])
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="holds config.json, which is no run's"):
        MAIN.main([*flags, "--out", str(tmp_path), "--fresh"])
    alone = ["--answers", "labels.csv", "--out", "run"]
    assert MAIN.main(alone) == 0
    with pytest.raises(UserError, match="--out run: holds labels.csv, which is no run's and would be lost"):
        MAIN.main(["--answers", "run/labels.csv", "--out", "run", "--fresh", "--columns", "item", "item", "label"])
    assert MAIN.main([*alone, "--fresh"]) == 0


def test_check_stops_before_the_run(tmp_path, capsys):
    flags = crowd(tmp_path)
    assert MAIN.main([*flags, "--check"]) == 0
    said = capsys.readouterr().out
    assert "80 items with 240 answers of 4 annotators, 3.0 an item; 20 to test on, 20 without answers" in said
    assert "nothing is wrong" in said and not (tmp_path / "runs").exists()
    for more, message in ((["--folds", "99"], "--folds 99: there are 80 training items"),
                          (["--folds", "3", "--held-out", ".2"], "--folds 3 and --held-out 0.2: expected one of the two"),
                          (["--label-source", "ann"], "--label-source ann: there is no such estimate"),
                          (["--device", "warp"], "--device warp: expected"),
                          (["--batch-size", "99"], "--batch-size 99: larger than")):
        with pytest.raises(UserError, match=message):
            MAIN.main([*flags, *more, "--check"])
    with pytest.raises(UserError, match="--methods true-label: no training item's true label is known"):
        MAIN.main([*flags[:4], "--methods", "true-label", "--check"])


@pytest.mark.parametrize("change, message", [
    (("answers.csv", "item 7,", "item 700,"), r"answers.csv, line \d+: item 'item 700', which is not in --features"
     r".*; expected answers to items that are there: item 0, item 1, "),
    (("truth.csv", "item 7,", "item 700,"), r"truth.csv, line 9: item 'item 700', which is not in --features"),
    (("truth.csv", "item 2,maybe", "item 2,mayby"), "truth.csv, line 4: 'mayby', which no answer has, near 'maybe'"),
    (["--classes", "no", "yes"], "label 'maybe'; expected one of --classes, no, yes"),
    (["--images", "."], "--images and --features: expected one"),
    (["--path", "x"], "--path x: your own data come by"),
    (["--size", "32"], "--size is for images; expected none with features"),
    (["--fit", "crop"], "--fit is for images; expected none with features"),
    (["--network", "resnet18"], "--network resnet18 is for images; features have a small one"),
    (["--columns", "task", "who", "label"], "no column 'who'"),
    (["--label-source", "true-label"], "--label-source true-label: there is no such estimate; choose from majority-vote"),
    (["--columns", "task", "worker"], "--columns task worker: expected TASK WORKER LABEL, or TASK LABEL with several"),
    (["more.csv"], "unrecognized arguments: more.csv; did you mean --answers more.csv?"),
    (["--methods", "max-mgi"], "--methods max-mgi: there is no such method; choose from .*; did you mean max-mig?"),
    (["--gold", "nothing.csv"], "nothing.csv: no such file"),
])
def test_bad_input(tmp_path, change, message):
    flags = crowd(tmp_path)
    if isinstance(change, tuple):
        file, old, new = change
        path = tmp_path / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    else:
        flags += change
    with pytest.raises(UserError, match=message):
        MAIN.main(flags)
    assert not (tmp_path / "runs").exists()


def test_no_answers():
    for flags in ([], ["--check"], ["--images", str(EXAMPLE / "images")]):
        with pytest.raises(UserError, match="--answers: missing; expected the table of who answered what, as --answers"):
            MAIN.main(flags)


def test_rows_of_an_array_without_names(tmp_path):
    flags = crowd(tmp_path)
    np.save(tmp_path / "f.npy", np.zeros((80, 3)))
    with pytest.raises(UserError, match="items that are there: 0, 1, 2, 3, 4 ...; name the rows by --items FILE"):
        MAIN.main([*flags[:2], "--features", "f.npy", "--check"])


def test_an_item_without_answers_and_without_an_image(tmp_path):
    flags = crowd(tmp_path)
    (tmp_path / "answers.csv").write_text("task,ann,bob\nitem 0,no,yes\nitem 1,yes,no\nnowhere,,\n")
    with pytest.raises(UserError, match="answers.csv: item 'nowhere', which is not in --features"):
        MAIN.main([*flags, "--check"])


@pytest.fixture
def pictures(tmp_path):
    shutil.copytree(EXAMPLE / "images", tmp_path / "images")
    shutil.copy(EXAMPLE / "answers.csv", tmp_path)
    return ["--answers", "answers.csv", "--images", "images"]


def test_bad_images(tmp_path, pictures):
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    answered = [name for name in names if name in (tmp_path / "answers.csv").read_text()]
    (tmp_path / "images" / answered[3]).write_bytes(b"nothing")
    (tmp_path / "images" / answered[5]).write_bytes(b"nothing")
    with pytest.raises(UserError, match=f"2 images with answers cannot be decoded, or are unlike the others: {answered[3]}"):
        MAIN.main([*pictures, "--check"])
    (tmp_path / "images" / answered[3]).unlink()
    (tmp_path / "images" / answered[5]).unlink()
    with pytest.raises(UserError, match=r"answers.csv, line \d+: item 'digit-\d+.png', .*, and 1 more items"):
        MAIN.main([*pictures, "--check"])
    for flags, message in ((["--network", "resnet19"], "no such network; expected small, four-conv, vgg16 or one of"),
                           (["--network", "four-conv", "--size", "8"], "cannot take images of 8 x 8"),
                           (["--network", "vgg16", "--size", "16"], "cannot take images of 16 x 16"),
                           (["--weights", "x.pt"], "--weights x.pt: no such file"),
                           (["--pretrained"], "no weights for --network small, .* as resnet18"),
                           (["--weights", "x.pt", "--pretrained"], "expected one of them")):
        whole = ["--answers", str(EXAMPLE / "answers.csv"), "--images", str(EXAMPLE / "images")]
        with pytest.raises(UserError, match=message):
            MAIN.main([*whole, *flags])


def test_broken_images_without_answers_are_left_out(tmp_path, pictures, capsys):
    said = (tmp_path / "answers.csv").read_text()
    rest = sorted(path for path in (tmp_path / "images").iterdir() if path.name not in said)
    rest[0].write_bytes(b"nothing")
    flags = ["--epochs", "1", "--methods", "majority-vote", "--device", "cpu", "--out", "run"]
    assert MAIN.main([*pictures, *flags]) == 0
    assert f"notice: 1 images without answers cannot be decoded and are left out: {rest[0].name}" in capsys.readouterr().out
    assert sorted(row["item"] for row in rows("run/predictions.csv")) == [path.name for path in rest[1:]]


def test_guessed_names_are_said(tmp_path, pictures, capsys):
    table = (tmp_path / "answers.csv").read_text()
    (tmp_path / "answers.csv").write_text(table.replace("digit-", "https://example.org/x/digit-"))
    assert MAIN.main([*pictures, "--check"]) == 0
    assert "90 of 90 items have other names in --images: https://example.org/x/digit-" in capsys.readouterr().out


def test_predictions_skip_broken_images(tmp_path, pictures, capsys):
    flags = ["--epochs", "1", "--methods", "majority-vote", "--device", "cpu", "--out", "run"]
    assert MAIN.main([*pictures, *flags]) == 0
    (tmp_path / "new").mkdir()
    names = sorted(path.name for path in (tmp_path / "images").iterdir())[:3]
    for name in names:
        shutil.copy(tmp_path / "images" / name, tmp_path / "new")
    (tmp_path / "new" / "broken.png").write_bytes(b"nothing")
    assert PREDICT.main(["run", "--images", "new", "--device", "cpu"]) == 0
    assert "training, and are skipped: broken.png" in capsys.readouterr().out
    assert [row["item"] for row in rows("predictions.csv")] == names
    with pytest.raises(UserError, match="--features .*: the model is for images; give it --images"):
        (tmp_path / "f.csv").write_text("task,a\nx,1\n")
        PREDICT.main(["run", "--features", "f.csv"])
    with pytest.raises(UserError, match="nowhere: no such file; a finished run of OwnData/main.py leaves it"):
        PREDICT.main(["nowhere", "--images", "new"])
    saved = read_model("run/model.pt")
    with open("odd.pt", "wb") as file:
        write_model(saved | {"preprocessing": saved["preprocessing"] | {"size": 32}}, file)
    with pytest.raises(UserError, match="odd.pt: not a whole model"):
        PREDICT.main(["odd.pt", "--images", "new"])
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="bad.pt: not a model"):
        PREDICT.main(["bad.pt", "--images", "new"])
    with open("other.pt", "wb") as file:
        write_model({"a": 1}, file)
    with pytest.raises(UserError, match="other.pt: not a classifier learnt from a crowd"):
        PREDICT.main(["other.pt", "--images", "new"])


def test_weights_start_the_network(tmp_path, pictures, capsys):
    from torchvision import models
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "resnet.pt")
    flags = ["--network", "resnet18", "--weights", "resnet.pt", "--epochs", "1", "--folds", "2", "--methods",
             "max-mig", "--size", "16",
             "--precision", "float32"]  # torch's bfloat16 gradient of a convolution of one pixel is not always finite
    assert MAIN.main([*pictures, *flags, "--device", "cpu", "--out", "run"]) == 0
    assert "120 of the 120 tensors of resnet18 start from resnet.pt" in capsys.readouterr().out
    model = load_model("run/model.pt")
    assert model.preprocessing["mean"] == [.485, .456, .406] and model.network["name"] == "resnet18"


def test_aggregate_takes_several_tables_and_some_rows():
    table = pd.DataFrame([(k, worker, (k + (worker == "c") * (k % 5 == 0)) % 2, "a" if k < 12 else "b")
                          for k in range(20) for worker in "abc"], columns=["task", "worker", "label", "part"])
    whole = aggregate(table.drop(columns="part"))
    halves = aggregate([table[table.task < 10].drop(columns="part"), table[table.task >= 10].drop(columns="part")])
    assert dict(zip(halves.labels["item"], halves.labels["label"], strict=True)) == dict(
        zip(whole.labels["item"], whole.labels["label"], strict=True))
    assert len(aggregate(table, columns=["task", "worker", "label"], where=["part=a"]).labels) == 12
