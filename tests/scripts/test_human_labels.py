"""CIFAR-10H and CIFAR-10N: their files, the hardest annotators, and training on them."""
import csv
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch

import cifar10
import human_labels
from common.system.errors import UserError

QUICK = ("--epochs", 1, "--batch-size", 8, "--precision", "float32", "--methods", "majority-vote", "max-mig")


def write_cifar10h(file, truth, item_column="cifar10_test_test_idx"):
    """Six annotators with ids of their own; number 900 errs on all items, 70 on half; each gives a few labels."""
    random = np.random.default_rng(0)
    lines = [f"annotator_id,trial_index,is_attn_check,true_label,chosen_label,{item_column}", "70,0,1,3,4,-99999"]
    for i, c in enumerate(truth):
        for annotator in random.permutation([3, 17, 70, 201, 500, 900])[:4]:
            wrong = annotator == 900 or (annotator == 70 and i % 2)
            lines.append(f"{annotator},1,0,{c},{(c + 1) % 10 if wrong else c},{i}")
    order = random.permutation(len(lines) - 1) + 1
    file.write_text("\n".join([lines[0], *(lines[k] for k in order)]) + "\n")
    return file


def write_cifar10n(file, columns):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(columns, 2))
        archive.writestr("archive/version", "3\n")
    return file


def cifar10n_columns(truth):
    labels = {f"random_label{k}": np.where(np.arange(len(truth)) % (k + 2), truth, 9 - truth) for k in (1, 2, 3)}
    return labels | {"clean_label": truth, "aggre_label": truth}


@pytest.mark.parametrize("item_column", human_labels.ITEM_COLUMNS)
def test_cifar10h(tmp_path, item_column):
    truth = np.arange(20) % 10
    crowd, names, read_truth = human_labels.read_cifar10h(write_cifar10h(tmp_path / "a.csv", truth, item_column))
    assert names == ["3", "17", "70", "201", "500", "900"] and crowd.annotators == 6
    assert read_truth.tolist() == truth.tolist() and crowd.counts.tolist() == [4] * 20  # the attention check is left out
    with open(tmp_path / "a.csv", newline="") as file:
        expected = sorted((int(row[item_column]), row["annotator_id"], int(row["chosen_label"]))
                          for row in csv.DictReader(file) if row["is_attn_check"] == "0")
    ours = sorted((i, names[m], c) for i, m, c in zip(crowd.item.tolist(), crowd.annotator.tolist(),
                                                     crowd.label.tolist(), strict=True))
    assert ours == expected
    few, few_names = human_labels.hardest(crowd, names, truth, 2)
    assert few_names == ["70", "900"] and len(few) == 20
    assert sorted((i, few_names[m], c) for i, m, c in zip(few.item.tolist(), few.annotator.tolist(), few.label.tolist(),
                                                         strict=True)) == [row for row in ours if row[1] in few_names]


def test_training_on_cifar10h(command, cifar_folder, tmp_path):
    """The test images are trained on, the training images tested on; items without labels still get one."""
    _, test, _ = cifar10.load(cifar_folder)
    crowd_file = write_cifar10h(tmp_path / "cifar10h-raw.csv", test.truth.tolist())
    done = command("Cifar10", "--path", cifar_folder, "--crowd", "cifar10h", "--crowd-path", crowd_file, *QUICK,
                   "--hardest", 1, "--methods", "max-mig")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "cifar10h-hardest1-seed0"
    config = json.loads((folder / "config.json").read_text())["data"]
    assert (config["train"], config["test"], config["annotators"]) == (40, 200, 1)
    with open(folder / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 and rows[0]["item"] == "test_0" and all(row["label"] for row in rows)
    assert any(row["majority_vote"] == "" for row in rows)
    with open(folder / "annotators.csv", newline="") as file:
        assert [row["annotator"] for row in csv.DictReader(file)] == ["900"]


def test_training_on_cifar10n(command, cifar_folder, tmp_path):
    train, _, _ = cifar10.load(cifar_folder)
    columns = cifar10n_columns(train.truth.numpy())
    crowd_file = write_cifar10n(tmp_path / "CIFAR-10_human.pt", columns)
    done = command("Cifar10", "--path", cifar_folder, "--crowd", "cifar10n", "--crowd-path", crowd_file, *QUICK,
                   "--train-size", 60, "--labels-per-item", 2, "--methods", "max-mig")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "runs" / "cifar10n-seed0" / "summary.json").read_text())
    assert (summary["items"], summary["annotators"], summary["labels"]) == (60, 3, 120)
    crowd, names, truth = human_labels.read_cifar10n(crowd_file)
    np.testing.assert_array_equal(crowd.label.view(-1, 3), np.column_stack([columns[name] for name in names]))
    np.testing.assert_array_equal(truth, columns["clean_label"])


def test_a_real_torch_file_is_read_and_a_hostile_one_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    truth = np.arange(30) % 10
    torch.save(cifar10n_columns(truth), tmp_path / "real.pt")
    assert human_labels.read_cifar10n(tmp_path / "real.pt")[2].tolist() == truth.tolist()

    class Hostile:
        def __reduce__(self):
            return open, ("executed", "w")
    with pytest.raises(UserError, match="nothing of it was executed"):
        human_labels.read_cifar10n(write_cifar10n(tmp_path / "a.pt", {"clean_label": Hostile()}))
    assert not (tmp_path / "executed").exists()


HEADER = "annotator_id,is_attn_check,true_label,chosen_label,cifar10_test_test_idx\n"


@pytest.mark.parametrize(("text", "message"), [
    ("a,b\n", "expected the columns annotator_id"),
    (HEADER + "1,0,x,2,0\n", "a row is broken"),
    (HEADER + "1,0,2\n", "a row is broken"),
    (HEADER + "1,0,2,10,0\n", "expected labels from 0 to 9"),
    (HEADER + "1,1,2,1,0\n", "expected labels from 0 to 9"),
    (HEADER + "1,0,2,1,0\n", None),
])
def test_bad_cifar10h(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    if message is None:
        assert len(human_labels.read_cifar10h(tmp_path / "a.csv")[0]) == 1
    else:
        with pytest.raises(UserError, match=message):
            human_labels.read_cifar10h(tmp_path / "a.csv")


@pytest.mark.parametrize(("change", "message"), [
    (lambda columns: columns.pop("random_label2"), "expected random_label2, a label from 0 to 9"),
    (lambda columns: columns.update(random_label3=np.full(30, 10)), "expected random_label3"),
    (lambda columns: columns.update(clean_label=np.zeros(29, int)), "expected clean_label"),
])
def test_bad_cifar10n(tmp_path, change, message):
    columns = cifar10n_columns(np.arange(30) % 10)
    change(columns)
    with pytest.raises(UserError, match=message):
        human_labels.read_cifar10n(write_cifar10n(tmp_path / "a.pt", columns))


def test_bad_crowd_files(tmp_path, cifar_folder):
    train, test, _ = cifar10.load(cifar_folder)
    from conftest import load_script
    options = load_script("Cifar10").Options

    def crowd(**how):
        return human_labels.human_crowd(train, test, cifar10.CLASSES, options(**how), {})
    with pytest.raises(UserError, match="--crowd-path: missing; give the file of --crowd cifar10h"):
        crowd(crowd="cifar10h")
    for kind in ("cifar10h", "cifar10n"):
        with pytest.raises(UserError, match=r"--crowd-path .*nowhere: no such file"):
            crowd(crowd=kind, crowd_path=tmp_path / "nowhere")
    (tmp_path / "a.pt").write_bytes(b"PK cut short")
    with pytest.raises(UserError, match="cut short, or not a file that torch saved"):
        crowd(crowd="cifar10n", crowd_path=tmp_path / "a.pt")
    file = write_cifar10h(tmp_path / "a.csv", np.arange(40) % 9)
    with pytest.raises(UserError, match="its true labels are not those of the images in --path"):
        crowd(crowd="cifar10h", crowd_path=file)
    file = write_cifar10h(tmp_path / "a.csv", test.truth.tolist())
    with pytest.raises(UserError, match="--hardest 7: there are 6 annotators"):
        crowd(crowd="cifar10h", crowd_path=file, hardest=7)


@pytest.mark.parametrize("flags, message", [
    (["--hardest", "3"], "--hardest 3: needs --crowd cifar10h"),
    (["--hardest", "3", "--crowd", "cifar10n"], "--hardest 3: needs --crowd cifar10h"),
    (["--crowd-path", "a.csv"], "--crowd-path a.csv: needs --crowd cifar10h or cifar10n"),
])
def test_flags_of_another_crowd(flags, message):
    from conftest import load_script
    with pytest.raises(UserError, match=message):
        load_script("Cifar10").main(flags)
