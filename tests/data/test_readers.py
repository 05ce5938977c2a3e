"""What users wrote, in every odd form that was found to end in a traceback, a crash, or gigabytes."""
import contextlib
import gzip
import io
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cifar10
import human_labels
import labelme
import reproduce
from common.data import decoding, opening
from common.data.answers import read_answers
from common.data.cache import cache_folder
from common.data.opening import read_array
from common.data.pickles import load_arrays
from common.data.preprocessing import apply, fit
from common.data.sources import read_source
from common.data.tensors import load_tensors, save_tensors
from common.output.model import load_model
from common.output.model_file import write_model
from common.output.records import read_summary
from common.system import errors
from common.system.errors import UserError, launch
from conftest import ROOT, hear_control_c, load_script
from test_human_labels import HEADER
from test_labelme import arrays, save

digits_main = load_script("Digits")
labelme_script = load_script("labelme", "cotraining_labelme.py")
SMALL = ["--train-size", "100", "--test-size", "50", "--epochs", "1", "--methods", "majority-vote", "--device", "cpu"]


@contextlib.contextmanager
def little_memory(most=100e6):
    """What Python and NumPy take in the `with` is less than that."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", [
    b"\x80\x03Nr\x00\x00\x00\x20.",  # a place in the memo: 8.7 GB for the pickle module
    b"\x80\x05\x96\x00\x00\x00\x00\x02\x00\x00\x00.",  # a bytearray of 8 GB
    b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"Ns.",  # a tuple nested deep as a key: a crash
    b"\x80\x02}" + b")" + b"2\x86" * 60 + b"Ns.",  # one that takes ages to hash
    pickle.dumps({"data": np.zeros(4, np.uint8)}, 2).replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85"),
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(I99999999999\ntC\x01b\x87R.",
])
def test_pickles_that_announce_much(content):
    with little_memory(), contextlib.suppress(UserError):
        assert not load_arrays(content, "x") or content.startswith(b"\x80\x02cnumpy")


def tar_of(file, members):
    with tarfile.open(file, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, content)
    return file


def member(name, size, **how):
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in how.items():
        setattr(info, key, value)
    return info, io.BytesIO(bytes(min(size, 1 << 28)))


def test_cifars_archive(tmp_path, cifar_folder, monkeypatch):
    def load(content):
        archive.write_bytes(content)
        cifar10.load(tmp_path / "a")
    (tmp_path / "a").mkdir()
    archive = tmp_path / "a" / cifar10.ARCHIVE
    with tarfile.open(tmp_path / "whole", "w:gz") as tar:
        tar.add(cifar_folder / cifar10.FOLDER, cifar10.FOLDER)
    whole = (tmp_path / "whole").read_bytes()
    load(whole)
    broken = whole[:2000] + bytes(200) + whole[2200:]
    for content in (broken, whole[:5000], whole[:10] + b"\xff" * 40, b"\xfd7zXZ\x00" + bytes(50), b"",
                    gzip.compress(b"no tar")):
        with pytest.raises(UserError, match="cut short or broken|has no data_batch_1"):
            load(content)
    monkeypatch.setattr(cifar10, "LARGEST", 1 << 20)
    big = 1 << 26
    for made in (member("data_batch_1", big), member("x", big, type=tarfile.XHDTYPE),
                 member("y", big, type=tarfile.GNUTYPE_LONGNAME)):
        tar_of(archive, [made])
        with pytest.raises(UserError, match="cut short or broken"), little_memory(20e6):
            cifar10.load(tmp_path / "a")
    tar_of(archive, [member("unrelated", big)])
    with pytest.raises(UserError, match="has no data_batch_1"), little_memory(20e6):
        cifar10.load(tmp_path / "a")


def test_cifar10n_in_an_odd_zip(tmp_path, monkeypatch):
    file = tmp_path / "a.pt"

    def write(content, kind=zipfile.ZIP_STORED):
        with zipfile.ZipFile(file, "w", kind) as archive:
            archive.writestr("a/data.pkl", content)
        return file.read_bytes()

    def read():
        return human_labels.read_cifar10n(file)
    columns = {name: np.arange(20, dtype=np.uint16) % 10 for name in (*human_labels.CIFAR10N_COLUMNS, "clean_label")}
    whole = write(pickle.dumps(columns, 2))
    assert read()[2].dtype == np.int64 and read()[0].annotators == 3  # unsigned
    columns = {name: values.astype(">i4") for name, values in columns.items()}
    write(pickle.dumps(columns))
    assert read()[2].tolist() == [*range(10)] * 2  # big-endian
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.rindex(b"PK\x01\x02") + 8] |= 1
    for content in (encrypted, whole[:-30], whole.replace(b"random", b"rondom", 1)):
        file.write_bytes(content)
        with pytest.raises(UserError, match="cut short, or not a file that torch saved"):
            read()
    monkeypatch.setattr(human_labels, "LARGEST", 1 << 20)
    write(bytes(1 << 26), zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="cut short"), little_memory(20e6):
        read()


def test_cifar10h_with_a_far_image(tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + "1,0,2,1,99999999999\n")
    with pytest.raises(UserError, match="1 labels, one of image 99999999999; expected labels of each"), little_memory():
        human_labels.read_cifar10h(tmp_path / "a.csv")


def test_pipes_devices_and_folders(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    for file in (tmp_path / "pipe.npy", "/dev/zero", tmp_path):
        for read in (read_array, read_answers, load_tensors, human_labels.read_cifar10h, human_labels.read_cifar10n):
            with pytest.raises(UserError, match="a device or pipe; expected a file|a folder; expected a file"):
                read(file)
    with pytest.raises(decoding.NotAnImage), decoding.open_image(tmp_path / "pipe.npy"):
        pass
    for name in ("x" * 300, "a\0b", "loop/a"):
        (tmp_path / "loop").is_symlink() or (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(UserError, match="cannot be read"):
            read_array(tmp_path / name)


@pytest.mark.parametrize(("header", "more"), [
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 2)}", 16),
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1)}", 16),
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -2)}", 16),
    ("{'descr': 'O', 'fortran_order': False, 'shape': (2,)}", 16),
    ("{'descr': '<c8', 'fortran_order': False, 'shape': (2,)}", 16),
    ("(" * 500, 0), ("", 0), ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,)}", 16)])
def test_npy_headers_that_lie(tmp_path, header, more):
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + bytes(more)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match="expected an array of numbers"), little_memory(1e6):
        read_array(tmp_path / "a.npy")


def test_labelmes_features_of_other_kinds(tmp_path):
    def load(**changes):
        return labelme.load(labelme_script.LabelMeOptions(path=save(tmp_path / "a", arrays() | changes)))
    made = arrays()
    plain = load()
    swapped = load(**{name: array.astype(array.dtype.newbyteorder(">")) for name, array in made.items()})
    assert torch.equal(plain.train.inputs.features, swapped.train.inputs.features)
    assert torch.equal(plain.train.crowd.label, swapped.train.crowd.label)
    far = made["data_test_vgg16"].astype(np.float64)
    far[3] = 1e300
    for test, message in ((far, "16 numbers are NaN or infinite, as float32"),
                          (made["data_test_vgg16"][..., :3], "12 features; expected 16, as data_train")):
        with pytest.raises(UserError, match=message):
            load(data_test_vgg16=test)
    same = {name: np.repeat(made[name], 2, 0) for name in ("answers", "labels_train", "data_train_vgg16")}
    assert load(**same).train.copies == 1  # equal rows are no augmented copies
    same["data_train_vgg16"][1::2] += 1
    assert load(**same).train.copies == 2
    nobody = {"answers": np.full_like(made["answers"], -1), "labels_train": np.full(48, -1)}
    nobody["answers"][:, 0] = 2
    assert load(**nobody).train.copies == 1  # nor are all rows one image


def test_answers_that_unpack_to_much(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "UNPACKED", 1 << 22)
    for start in (b"task,worker,label\n", b'{"a": '):
        (tmp_path / "b.gz").write_bytes(gzip.compress(start) + gzip.compress(b" " * opening.UNPACKED))
        with pytest.raises(UserError, match="cannot be read .more than it can need when unpacked"):
            read_answers(str(tmp_path / "b.gz"))
    for content, message in (
            (b'{"a":' * 100_000, "not JSON that can be read .maximum recursion"),
            (b'{"a": {"b": 1' + b"0" * 5000 + b"}}", "not JSON that can be read .Exceeds the limit"),
            (b"\x1f\x8b" + bytes(30), "cannot be read .Unknown compression"), (b'{"\xff": 1}', "not JSON that can be read"),
            (b"task,worker,label\n\xff,a,b\n", "not UTF-8 text"), (b"\0" * 100, "line 1: columns"),
            (b"task,worker,label\na,b,\"c\n", "not a table .EOF inside string")):
        (tmp_path / "c").write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_answers(str(tmp_path / "c"))


def test_features_too_far_for_float32(tmp_path):
    def source(values):
        np.save(tmp_path / "f.npy", np.array(values))
        return read_source(features=str(tmp_path / "f.npy"))
    preprocessing = fit(source([[1., 2], [2, 1]]), np.arange(2))
    with pytest.raises(UserError, match="feature 1 of item '1' is 1e[+]300, too far from the others"):
        apply(source([[1., 2], [2, 1e300]]), preprocessing)
    inputs, _ = apply(source(np.array([[1., 2], [2, 1]], ">f8")), preprocessing)
    assert inputs.features.tolist() == [[-1, 1], [1, -1]]
    with pytest.raises(UserError, match="feature 0 goes up to 1e[+]308; expected numbers whose squares can be summed"):
        far = source([[1e308, 2], [-1e308, 1], [1e308, 1]])
        apply(far, fit(far, np.arange(3)))


def test_a_16_bit_image_keeps_its_greys(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)).save(tmp_path / "a.png")
    decoded, _ = decoding.decode([tmp_path / "a.png"], 8)
    assert (abs(decoded.images.numpy()[0, :, :, 1].ravel().astype(int) - np.linspace(0, 255, 64)) <= 1).all()


def test_caches_that_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / "a.png")
    whole, _ = decoding.decode([tmp_path / "a.png"], 8, "L")
    whole = whole.images.clone()
    cache, = cache_folder().iterdir()
    content = cache.read_bytes()
    flipped = (content[:place] + bytes([content[place] ^ 4]) + content[place + 1:] for place in range(64, len(content)))
    for broken in (content[:50], b"", b"x", content + b"x", b"\xff" * len(content), *flipped):  # of its pixels nobody asks
        cache.write_bytes(broken)
        assert decoding.decode([tmp_path / "a.png"], 8, "L")[0].images.equal(whole)
    cache.unlink()
    os.mkfifo(cache)
    assert decoding.decode([tmp_path / "a.png"], 8, "L")[0].images.equal(whole)


@pytest.mark.parametrize("text", ["[]", "3", '{"methods": 3}', '{"methods": {"a": 3}, "seconds": 1}', "[" * 100_000,
                                  '{"methods": {"a": {"last": 1, "best": null}}, "seconds": 1}', "{}", "nul", "\xff"])
def test_summaries_that_are_none(tmp_path, text):
    (tmp_path / "summary.json").write_bytes(text.encode("latin1"))
    assert read_summary(tmp_path) is None


@pytest.mark.parametrize("config", [[], {}, {"flags": []}, {"flags": {}, "run": {}}, {"run": 3}])
def test_records_of_cells_that_are_none(tmp_path, monkeypatch, capsys, config):
    """reproduce.py lists the cell and makes its tables without it."""
    monkeypatch.chdir(tmp_path)
    cell = tmp_path / "runs" / "reproduce-labelme" / "labelme-seed0"
    cell.mkdir(parents=True)
    for name, text in (("config.json", json.dumps(config)), ("metrics.csv", ""), ("error.txt", "\n"), ("summary.json", "[")):
        (cell / name).write_text(text)
    assert reproduce.main(["labelme", "--seeds", "1", "--list"]) == 0
    assert reproduce.main(["labelme", "--seeds", "1", "--tables-only"]) == 1
    assert "labelme-seed0 failed: nothing is known of it" in capsys.readouterr().err


def test_classes_that_cannot_be(tmp_path):
    rows = (f"item{k},{k % 20},text {k}\n" for k in range(10_000))
    (tmp_path / "a.csv").write_text("task,worker,label\n" + "".join(rows))
    with pytest.raises(UserError, match="--classes: 'a' twice"):
        read_answers(str(tmp_path / "a.csv"), classes=["a", "b", "a"])
    own = load_script("OwnData")
    with pytest.raises(UserError, match="10000 classes and 20 annotators, whose confusion matrices take 8 GB"):
        own.main(["--answers", str(tmp_path / "a.csv"), "--features", "f.csv"])


def test_a_done_run_whose_summary_is_none_is_finished_again(tmp_path, capsys):
    digits_main.main([*SMALL, "--out", str(tmp_path / "run")])
    whole = (tmp_path / "run" / "summary.json").read_text()
    (tmp_path / "run" / "summary.json").write_text(json.dumps({"methods": {"majority-vote": {"last": []}}, "seconds": 1}))
    assert digits_main.main([*SMALL, "--out", str(tmp_path / "run")]) == 0
    again = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert again | {"seconds": None} == json.loads(whole) | {"seconds": None}


@pytest.mark.parametrize("change", [
    lambda learners: learners.clear(), lambda learners: learners.update({"0/majority-vote/0": {}}),
    lambda learners: learners["0/majority-vote/0"]["method"].popitem()])
def test_checkpoints_without_a_learner(tmp_path, change):
    """Their checksums hold; training would have begun again under the epochs that they say are done."""
    flags = [*SMALL, "--out", str(tmp_path / "run")]
    digits_main.main(flags)
    (tmp_path / "run" / "summary.json").unlink()
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    change(state["learners"])
    with open(tmp_path / "run" / "checkpoint.pt", "wb") as file:
        save_tensors(state, file)
    with pytest.raises(UserError, match="checkpoint.pt: damaged, or not a checkpoint of this program"):
        digits_main.main(flags)


def test_images_of_a_hundred_megapixels(tmp_path):
    Image.new("1", (10_000, 10_000)).save(tmp_path / "a.png")
    with pytest.raises(decoding.NotAnImage, match="10000 x 10000 pixels"), decoding.open_image(tmp_path / "a.png"):
        pass


def test_models_that_are_none(tmp_path):
    saved = {"kind": "a classifier learnt from a crowd", "method": "max-mig", "classes": ["a", "b"], "network": {},
             "preprocessing": {}, "precision": "float32", "networks": []}
    for changes in ({}, {"networks": [1]}, {"network": 3}, {"classes": 7}, {"networks": None}):
        with open(tmp_path / "model.pt", "wb") as file:
            write_model(saved | changes, file)
        with pytest.raises(UserError, match="not a whole model; expected model.pt of a run"):
            load_model(tmp_path / "model.pt")
    content = bytearray((tmp_path / "model.pt").read_bytes())
    content[content.index(b"max-mig")] ^= 1
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(UserError, match="not a model that can be read"):
        load_model(tmp_path / "model.pt")


def test_a_seal_is_of_every_byte(tmp_path):
    """The checksums that torch writes are of the contents alone: a flag in the directory may turn a tensor into another."""
    file, value = tmp_path / "a.pt", {"a": torch.arange(3.), "b": [1, "c"]}
    with open(file, "wb") as sealed:
        save_tensors(value, sealed)
    whole = file.read_bytes()
    for found in (load_tensors(file, sealed=True), load_tensors(file), torch.load(file, weights_only=True)):
        assert repr(found) == repr(value)
    broken = [whole[:k] + bytes([whole[k] ^ 1 << k % 8]) + whole[k + 1:] for k in range(len(whole))]
    for content in (*broken, b"", whole[:-1], whole[:-16], whole + b" "):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="its seal does not hold"):
            load_tensors(file, sealed=True)


@pytest.mark.pictures
@pytest.mark.parametrize("name", ["a$\\frac{$", "a\x1b[31m\nb", os.fsdecode(b"\xff\xfe"), "ü" * 100])
def test_odd_names_of_the_results_folder(tmp_path, name):
    assert digits_main.main([*SMALL, "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / name / "summary.json").exists()


@pytest.mark.parametrize(("raised", "said", "status"), [
    (UserError("--x \x1b[2J\n" + "y" * 5000), r"error: --x \x1b[2J\n" + "y" * 200, 2),
    (PermissionError(13, "Permission denied", "a/b"), "error: a/b: cannot be read or written (Permission denied)", 2),
    (OSError(28, "No space left on device"), "error: a file, or the output: cannot be read or written (No space", 2),
    (MemoryError("9 GB"), "error: not enough memory (9 GB)", 2),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "error: not enough memory (DefaultCPUAllocator", 2),
    (KeyboardInterrupt(), "stopped: nothing is half written; the same command goes on", 130),
])
def test_what_launch_says(monkeypatch, raised, said, status):
    """One sentence, short, without control characters."""
    def main():
        raise raised
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), "ascii", "backslashreplace"))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    with pytest.raises(SystemExit) as end:
        launch(main)
    text = sys.stderr.buffer.getvalue().decode()
    assert end.value.code == status and text.startswith(said) and text.count("\n") == 1
    assert len(text) < errors.LONGEST + 10 and "\x1b" not in text


def test_a_full_output_an_ascii_locale_and_no_home(tmp_path, shell):
    bare = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0",
            "RANK": "x"}
    arguments = [sys.executable, str(ROOT / "Digits" / "main.py"), *SMALL, "--out", "ü€"]
    done = subprocess.run(arguments, cwd=tmp_path, env=bare, capture_output=True)
    assert done.returncode == 0 and (tmp_path / "ü€" / "summary.json").exists() and done.stderr == b""
    with open("/dev/full", "w") as full:
        done = shell("Digits", *SMALL, "--out", "ü€", stdout=full)
    assert done.returncode == 2
    assert done.stderr == "error: a file, or the output: cannot be read or written (No space left on device)\n"


def test_control_c_in_the_imports(start):
    process = start("Digits", anew=True, preexec_fn=hear_control_c)
    while "/torch/" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and stderr.startswith("stopped: ") and stderr.count("\n") == 1
