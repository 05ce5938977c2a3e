"""CIFAR-10's files: batches, archive, image folder, and everything that can be wrong with them."""
import csv
import hashlib
import io
import json
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

import cifar10
from common.system.errors import UserError
from conftest import ROOT

QUICK = ("--case", 2, "--expertise", 1, "--epochs", 1, "--batch-size", 40, "--precision", "float32")


def pixels(items):
    return items.inputs.raw(slice(None)).numpy()


def test_batches(cifar_folder, capsys):
    train, test, _ = cifar10.load(cifar_folder)
    assert pixels(train).shape == (200, 32, 32, 3) and len(test) == 40
    with open(cifar_folder / cifar10.FOLDER / "data_batch_2", "rb") as file:
        batch = pickle.load(file)
    # a row holds the red, then the green, then the blue plane; image 3 of the second batch is item 43
    np.testing.assert_array_equal(pixels(train)[43], batch["data"][3].reshape(3, 32, 32).transpose(1, 2, 0))
    assert train.truth[40:80].tolist() == batch["labels"] and train.names[43] == "train_43"
    notice = capsys.readouterr().out
    assert notice.count("\n") == 1 and "not the published md5" in notice and "data_batch_5, test_batch" in notice


def test_published_md5_gives_no_notice(cifar_folder, capsys, monkeypatch):
    def listed(files):
        return [(name, hashlib.md5((cifar_folder / cifar10.FOLDER / name).read_bytes()).hexdigest()) for name, _ in files]
    monkeypatch.setattr(cifar10.CIFAR10, "train_list", listed(cifar10.CIFAR10.train_list))
    monkeypatch.setattr(cifar10.CIFAR10, "test_list", listed(cifar10.CIFAR10.test_list))
    cifar10.load(cifar_folder)
    assert capsys.readouterr().out == ""


def test_archive(cifar_folder, tmp_path):
    archive = tmp_path / "archive" / cifar10.ARCHIVE
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(cifar_folder / cifar10.FOLDER, cifar10.FOLDER)
    for ours, theirs in zip(cifar10.load(archive.parent)[:2], cifar10.load(cifar_folder)[:2], strict=True):
        np.testing.assert_array_equal(pixels(ours), pixels(theirs))


def image_folder(tmp_path, size=32):
    """Two images of each class in train/, one in test/."""
    random = np.random.default_rng(0)
    for split, count in (("train", 2), ("test", 1)):
        for c, name in enumerate(cifar10.CLASSES):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for k in range(count):
                image = Image.fromarray(random.integers(20 * c, 20 * c + 20, (size, size, 3), np.uint8))
                image.save(tmp_path / "images" / split / name / (f"{k}.png" if k else f"{k}.jpg"))
    return tmp_path / "images"


def test_image_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = image_folder(tmp_path)
    train, test, files = cifar10.load(folder)
    assert len(train) == 20 and len(test) == 10 and train.truth.tolist() == [c for c in range(10) for _ in range(2)]
    assert train.names[7] == "train/cat/1.png" and files == {}
    np.testing.assert_array_equal(pixels(train)[7], Image.open(folder / "train" / "cat" / "1.png"))
    (folder / "train" / "cat" / "1.png").write_bytes(b"no image")
    train, _, files = cifar10.load(folder)
    assert len(train) == 19 and "train/cat/1.png" not in train.names and train.truth[7] == 4
    assert "1 images could not be decoded and are left out: train/cat/1.png" in capsys.readouterr().out
    assert files == {"left_out.csv": "item\ntrain/cat/1.png\n"}
    (folder / "test" / "unicorn").mkdir()
    with pytest.raises(UserError, match="test/unicorn: not a class of CIFAR-10"):
        cifar10.load(folder)
    shutil.rmtree(folder / "test" / "unicorn")
    shutil.rmtree(folder / "test" / "frog")
    with pytest.raises(UserError, match=r"test/frog: no \.png or \.jpg in it"):
        cifar10.load(folder)


def test_the_command_on_batches_from_both_places(cifar_folder, command, shell, tmp_path):
    arguments = (*QUICK, "--path", cifar_folder, "--device", "0", "--train-size", 48, "--test-size", 10,
                 "--methods", "max-mig")
    root = command("Cifar10", *arguments)
    inside = shell("Cifar10", *arguments, "--out", tmp_path / "inside", cwd=ROOT / "Cifar10")
    for done in (root, inside):
        assert done.returncode == 0, done.stderr
    if not torch.cuda.is_available():
        assert "--device 0: no CUDA here, running on the CPU" in root.stdout
    folders = tmp_path / "runs" / "cifar10-case2-high-seed0", tmp_path / "inside"
    files = [{file.name for file in folder.iterdir()} for folder in folders]
    assert files[0] == files[1] and "summary.json" in files[0]
    assert (folders[0] / "labels.csv").read_text() == (folders[1] / "labels.csv").read_text()
    with open(folders[0] / "labels.csv", newline="") as file:
        assert len([row for row in csv.DictReader(file) if row["item"].startswith("train_")]) == 48

    config = json.loads((folders[0] / "config.json").read_text())["data"]
    assert config["train"] == 48 and config["annotators"] == 10 and config["classes"] == cifar10.CLASSES
    rows = cifar_folder / cifar10.FOLDER / "data_batch_3"
    rows.write_bytes(rows.read_bytes().replace(b"\x40", b"\x41"))  # other pixels, the same command
    changed = command("Cifar10", *arguments)
    assert changed.returncode == 2 and "holds another run: its data are others" in changed.stderr


class Hostile:
    def __reduce__(self):
        return open, ("executed", "w")


@pytest.mark.parametrize(("content", "message"), [
    (pickle.dumps({"data": Hostile(), "labels": []}), r"not a pickle of arrays alone \(.*open\); nothing of it was"),
    (pickle.dumps({"data": np.zeros(3, object)}), "not a pickle of arrays alone"),
    (pickle.dumps({"data": 1})[:-1], "cut short or broken"),
    (b"", "cut short or broken"),
    (b"\x80\x02cos\nsystem\n(S'touch executed'\ntR.", ".*nothing of it was executed"),
    (b"\x80\x02c_codecs\nencode\n(S'x'\nS'zip'\ntR.", ".*nothing of it was executed"),
    (b"\x80\x02Pexecuted\n.", "not a pickle of arrays alone"),
    (pickle.dumps([1, 2]), r"expected uint8 data \(N, 3072\)"),
    (pickle.dumps({"data": np.zeros((2, 3072), np.float32), "labels": [0, 1]}), r"expected uint8 data \(N, 3072\)"),
    (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}), "expected a list of 2 labels from 0 to 9"),
    (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}), "expected a list of 2 labels from 0 to 9"),
])
def test_bad_pickles(cifar_folder, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (cifar_folder / cifar10.FOLDER / "data_batch_4").write_bytes(content)
    with pytest.raises(UserError, match=f"data_batch_4: {message}"):
        cifar10.load(cifar_folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("cut", [10, 1000, 60_000])
def test_truncated_batches(cifar_folder, cut):
    batch = cifar_folder / cifar10.FOLDER / "test_batch"
    batch.write_bytes(batch.read_bytes()[:cut])
    with pytest.raises(UserError, match="test_batch: cut short or broken"):
        cifar10.load(cifar_folder)


@pytest.mark.parametrize("protocol", range(5))
def test_pickles_of_every_protocol_and_of_python_2_are_read(protocol):
    from common.data.pickles import load_arrays
    value = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2], "name": "a"}
    read = load_arrays(io.BytesIO(pickle.dumps(value, protocol)), "x")
    np.testing.assert_array_equal(read.pop("data"), value.pop("data"))
    assert read == value
    two = b"\x80\x02}q\x00(U\x06labelsq\x01]q\x02K\x07aU\x04dataq\x03cnumpy.core.multiarray\n_reconstruct\nq\x04" \
          b"cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87Rq\x06(K\x01K\x02\x85cnumpy\ndtype\nq\x07U\x02u1K\x00K\x01\x87R" \
          b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x05\xfftb u."
    read = load_arrays(io.BytesIO(two.replace(b" u.", b"u.")), "x")
    assert read["labels"] == [7] and read["data"].tolist() == [5, 255]


def test_folders_without_cifar10(tmp_path, cifar_folder):
    for path, message in ((None, "--path: missing"), (tmp_path / "nowhere", "nowhere: no such folder"),
                          (tmp_path, "no CIFAR-10 in it; expected cifar-10-batches-py")):
        with pytest.raises(UserError, match=message):
            cifar10.load(path)
    (cifar_folder / cifar10.FOLDER / "data_batch_5").unlink()
    with pytest.raises(UserError, match=r"data_batch_5: no such file"):
        cifar10.load(cifar_folder)


def test_download_without_a_network(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no route to host")
    monkeypatch.setattr(cifar10, "CIFAR10", refuse)
    with pytest.raises(UserError, match=r"--download: CIFAR-10 could not be fetched into .* \(no route to host\)"):
        cifar10.load(tmp_path, download=True)
