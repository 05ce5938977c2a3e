"""LabelMe's arrays: sparse real annotators, copies of an image, validation, and everything that can be wrong."""
import csv
import json

import numpy as np
import pytest
import torch

import labelme
from common.data.dataset import Items, subset
from common.data.features import FeatureSet
from common.names import PAPER_METHODS
from common.system.errors import UserError
from conftest import load_script

script = load_script("labelme", "cotraining_labelme.py")
CLASSES, ANNOTATORS = 8, 6


def arrays(images=48, seed=0):
    """The seven arrays, {name: array}. Item 5 has no labels, annotator 4 gave none, most labels are missing."""
    random = np.random.default_rng(seed)
    made = {}
    for split, count in (("train", images), ("test", 24), ("valid", 16)):
        labels = np.arange(count) % CLASSES
        features = random.normal(0, .3, (count, 2, 2, 4)) + np.eye(16)[labels].reshape(count, 2, 2, 4) * 3
        made[f"data_{split}_vgg16"] = features.astype(np.float32)
        made[f"labels_{split}"] = labels
    wrong = random.random((images, ANNOTATORS)) < .2
    answers = np.where(wrong, random.integers(0, CLASSES, wrong.shape), made["labels_train"][:, None])
    answers[random.random(answers.shape) < .5] = -1
    answers[5] = answers[:, 4] = -1
    return made | {"answers": answers}


def load(path, **how):
    return labelme.load(script.LabelMeOptions(path=path, **how))


def save(folder, made):
    folder.mkdir(exist_ok=True)
    for name, array in made.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def run(folder, out, *arguments):
    status = script.main(["--path", str(folder), "--device", "cpu", "--batch-size", "8", "--out", str(out),
                          *map(str, arguments)])
    with open(out / "metrics.csv", newline="") as metrics, open(out / "labels.csv", newline="") as labels:
        return (status, json.loads((out / "summary.json").read_text()), list(csv.DictReader(metrics)),
                list(csv.DictReader(labels)))


def test_the_command(command, tmp_path):
    made = arrays()
    save(tmp_path / "prepared", made)
    done = command("labelme/cotraining_labelme.py", "--path", "prepared", "--epochs", 8, "--batch-size", 8,
                   "--select", "valid")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "runs" / "labelme-seed0"
    with open(out / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # without crowd labels of the test images the forecaster has no test scores, but labels of the training images
    assert {row["method"] for row in rows} == set(PAPER_METHODS)
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["methods"]) == {*PAPER_METHODS, "max-mig-forecaster"}
    assert summary["methods"]["max-mig-forecaster"]["last"] is None
    assert summary["methods"]["max-mig-forecaster"]["train_label_accuracy"] > .5
    for name in PAPER_METHODS:
        valid = [float(row["valid_accuracy"]) for row in rows if row["method"] == name]
        test = [float(row["test_accuracy"]) for row in rows if row["method"] == name]
        first_best = valid.index(max(valid))
        assert summary["methods"][name]["selected_epoch"] == first_best + 1
        assert summary["methods"][name]["selected"]["test_accuracy"] == test[first_best]
    assert "selected" in done.stdout
    assert summary["labels"] == (made["answers"] >= 0).sum() and summary["items"] == 48

    with open(out / "labels.csv", newline="") as file:
        labels = list(csv.DictReader(file))
    assert labels[5]["majority_vote"] == "" and labels[5]["label"] != ""  # no labels: the forecaster still gives one
    with open(out / "annotators.csv", newline="") as file:
        annotators = list(csv.DictReader(file))
    assert [int(row["labels"]) for row in annotators] == (made["answers"] >= 0).sum(0).tolist()
    assert {name for name, value in annotators[4].items() if value} == {"annotator", "labels", "flag"}
    assert annotators[4]["labels"] == "0" and annotators[4]["flag"] == "no labels"
    right = (made["answers"] == made["labels_train"][:, None]).sum(0)
    assert float(annotators[0]["true_accuracy"]) == pytest.approx(right[0] / (made["answers"][:, 0] >= 0).sum())
    with np.load(out / "confusion.npz") as confusion:
        assert confusion["estimated"].shape == (ANNOTATORS, CLASSES, CLASSES)
        assert np.isnan(confusion["true"][4]).all() and np.isfinite(confusion["estimated"]).all()


def test_copies_are_found_without_the_truth(tmp_path):
    made = arrays(images=16)
    tripled = {name: np.repeat(array, 3, 0) if name in ("answers", "data_train_vgg16") else array
               for name, array in made.items()}
    tripled["data_train_vgg16"] += np.random.default_rng(1).normal(0, .1, tripled["data_train_vgg16"].shape)
    tripled["labels_train"] = np.arange(48) % CLASSES  # another one in each row
    assert load(save(tmp_path / "a", tripled)).train.copies == 3


@pytest.mark.parametrize("flag", [(), ("--copies", 3)])
def test_copies_count_once(tmp_path, capsys, flag):
    made = arrays(images=16)
    tripled = {name: np.repeat(array, 3, 0) if name in ("answers", "labels_train", "data_train_vgg16") else array
               for name, array in made.items()}
    tripled["data_train_vgg16"] += np.random.default_rng(1).normal(0, .1, tripled["data_train_vgg16"].shape)
    status, summary, _, labels = run(save(tmp_path / "a", tripled), tmp_path / "run", "--epochs", 2, *flag)
    assert status == 0 and "48 training rows, 3 copies of each of 16 images" in capsys.readouterr().out
    assert summary["items"] == 16 and summary["labels"] == (made["answers"] >= 0).sum()
    assert [row["item"] for row in labels] == [str(i) for i in range(16)]
    assert [int(row["truth"]) for row in labels] == made["labels_train"].tolist()
    cut = load(tmp_path / "a", train_size=10).train
    assert len(cut) == 30 and cut.truth.view(10, 3).eq(cut.truth[::3, None]).all()


def test_every_known_class_is_in_a_cut():
    truth = torch.tensor([-1] * 40 + [0] * 40 + [1, 2])
    items = Items(FeatureSet(torch.zeros(82, 1)), truth, list(range(82)))
    assert {0, 1, 2} <= set(subset(items, 3, 3, "--train-size").truth.tolist())
    with pytest.raises(UserError, match="--test-size 5: there are 0 items of 3 classes; leave it out"):
        subset(items.select(torch.zeros(0, dtype=torch.int64)), 5, 3, "--test-size")


def test_rows_without_copies_are_found_to_have_none(tmp_path):
    assert load(save(tmp_path / "a", arrays())).train.copies == 1


def test_the_default_is_counted_in_rows(tmp_path, monkeypatch, capsys):
    folder = save(tmp_path / "a", arrays())
    monkeypatch.setattr(script, "PUBLISHED_ROWS", 96)
    monkeypatch.setattr(script, "PUBLISHED_EPOCHS", 3)
    _, _, rows, _ = run(folder, tmp_path / "run", "--methods", "aggnet")
    assert rows[-1]["epoch"] == "6" and "6 epochs of 48 rows" in capsys.readouterr().out


def test_features_have_any_shape_and_no_truth_is_needed(tmp_path):
    """Flattened features and unknown true labels: the same crowd, the same numbers for all but true-label."""
    made = arrays()
    _, known, first, _ = run(save(tmp_path / "a", made), tmp_path / "known", "--epochs", 2)
    made["data_train_vgg16"] = made["data_train_vgg16"].reshape(48, 16).astype(np.float64)
    made["labels_train"] = np.full(48, -1)
    _, unknown, second, labels = run(save(tmp_path / "a", made), tmp_path / "unknown", "--epochs", 2, "--copies", 1)
    first = [row for row in first if row["method"] != "true-label"]
    for a, b in zip(first, second, strict=True):
        assert [a[key] for key in ("method", "loss", "test_accuracy")] == [b[key] for key in (
            "method", "loss", "test_accuracy")]
    assert all(row["truth"] == "" for row in labels)
    assert unknown["methods"]["max-mig"]["train_label_accuracy"] is None
    assert known["methods"]["max-mig"]["train_label_accuracy"] is not None


def broken(name, change):
    made = arrays()
    made[name] = change(made[name])
    return made


def spoil(value):
    def change(array):
        array = array.astype(float)
        array[2, ...] = value
        return array
    return change


@pytest.mark.parametrize(("made", "message"), [
    (broken("answers", lambda a: a[:40]), r"answers.npy: shape \(40, 6\), expected \(48, annotators\)"),
    (broken("answers", np.transpose), r"answers.npy: shape \(6, 48\), .* it looks transposed"),
    (broken("answers", lambda a: a[:, 0]), r"answers.npy: shape \(48,\), expected \(items, annotators\)"),
    (broken("answers", spoil(8)), "answers.npy: holds 8.0; expected whole numbers from -1 to 7"),
    (broken("answers", spoil(.5)), "answers.npy: holds 0.5; expected whole numbers"),
    (broken("answers", spoil(np.nan)), "answers.npy: holds nan; expected whole numbers"),
    (broken("labels_test", spoil(-1)), "labels_test.npy: holds -1.0; expected whole numbers from 0 to 7"),
    (broken("labels_train", lambda a: a[:, None]), r"labels_train.npy: shape \(48, 1\), expected one label"),
    (broken("data_train_vgg16", spoil(np.nan)), "data_train_vgg16.npy: 16 numbers are NaN or infinite"),
    (broken("data_test_vgg16", spoil(np.inf)), "data_test_vgg16.npy: 16 numbers are NaN or infinite"),
    (broken("data_test_vgg16", lambda a: a[:20]), r"data_test_vgg16.npy: shape \(20, 2, 2, 4\), expected 24 rows"),
    (broken("data_train_vgg16", lambda a: a.astype(object)), "an array of objects, which is not unpickled"),
    (broken("labels_train", lambda a: a.astype(str)), "labels_train.npy: expected an array of numbers"),
])
def test_bad_arrays(tmp_path, made, message):
    with pytest.raises(UserError, match=message):
        load(save(tmp_path / "a", made))


def test_bad_files_and_flags(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder; .*deep_LabelMe.tar.gz, with data_train_vgg16.npy"):
        load(tmp_path / "nowhere")
    folder = save(tmp_path / "a", arrays())
    with pytest.raises(UserError, match="--copies 7: the 48 training rows are no multiple of it"):
        load(folder, copies=7)
    with pytest.raises(UserError, match="--augment fresh: labelme has features, not images"):
        run(folder, tmp_path / "run", "--augment", "fresh")
    (folder / "answers.npy").write_bytes((folder / "answers.npy").read_bytes()[:200])
    with pytest.raises(UserError, match=r"answers.npy: not a whole .npy file"):
        load(folder)
    (folder / "labels_valid.npy").unlink()
    save(folder, {"answers": arrays()["answers"]})
    load(folder)  # the validation files may be missing
    with pytest.raises(UserError, match=r"labels_valid.npy: missing; .* holds data_train_vgg16.npy"):
        load(folder, select="valid")
