"""Small whole files of every format that is read, and what a broken disk or a careless hand makes of them."""
import gzip
import io
import json
import pickle
import tarfile
import zipfile
import zlib
from contextlib import redirect_stdout
from functools import partial

import numpy as np
import SimpleITK
import torch
from PIL import Image

import cifar10
import human_labels
import labelme
import prepare
from common.data import decoding, image_lists
from common.data.answers import read_answers, read_labels
from common.data.opening import read_array
from common.data.pickles import load_arrays
from common.data.preprocessing import apply, fit
from common.data.sources import read_source
from common.data.tensors import LENGTH, SEAL, load_tensors
from common.output.files import CHECKPOINT, CONFIG, SUMMARY
from common.output.model import load_model
from common.output.records import read_record, read_summary
from common.output.run_folder import RunFolder
from common.output.run_state import can_be_of
from common.system.errors import UserError

ODD = [b"", b"\0", b"\xff", b"\n", b",", b'"', b"-1", b"1e999", b"nan", b"99999999999", b"\xc2\xb2", b"[" * 3000,
       b"\0" * 300, b"\xff" * 8, b"../", b" ", b"{}", b")" + b"\x85" * 100_000]  # the last: a pickle of nested tuples


def mutate(content, random):
    """The content (bytes) after one to four changes drawn from a numpy Generator: bits flipped, bytes lost, doubled, moved,
    overwritten or put in, the end cut off."""
    content = bytearray(content)
    for _ in range(random.integers(1, 5)):
        # a header is where most can go wrong
        end = max(1, len(content) if random.random() < .5 else min(len(content), 200))
        start = int(random.integers(end))
        stop = start + int(random.integers(1, 1 + min(64, end)))
        odd = ODD[random.integers(len(ODD))]
        match random.integers(7):
            case 0:
                if content:
                    content[min(start, len(content) - 1)] ^= 1 << random.integers(8)
            case 1:
                del content[start:stop]
            case 2:
                content[start:start] = content[start:stop]
            case 3:
                content[start:start + len(odd)] = odd
            case 4:
                content[start:start] = odd
            case 5:
                del content[start:]
            case 6:
                content[start:stop] = random.bytes(stop - start)
    return bytes(content)


def _same(value, read):
    """read, after which the value, if there is one, must be the same: a checksum holds, or nothing is read."""
    whole = repr(value)

    def check(path):
        found = read(path)
        if found is not None and repr(found) != whole:
            raise AssertionError("read in silence, and not what was written")
    return check


def make(folder, run):
    """{name: (path of a whole file in `folder`, function of that path that reads it)}; each raises UserError, or nothing.
    run: the folder of a finished run of OwnData/main.py, for what a run leaves."""
    random = np.random.default_rng(0)
    truth = np.arange(40) % 10
    pixels = random.integers(0, 256, (40, 3072), np.uint8)
    made = {}

    def add(name, content, read, file=None):
        path = folder / (file or name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        made[name] = path, read

    for protocol in (2, 4):
        batch = pickle.dumps({"labels": truth.tolist(), "data": pixels[:, :], "filenames": ["a.png"] * 40}, protocol)
        add(f"batch-{protocol}", batch, lambda path: cifar10._batch(path.read_bytes(), path))
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, _ in cifar10.CIFAR10.train_list + cifar10.CIFAR10.test_list:
            info = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            info.size = len(batch)
            archive.addfile(info, io.BytesIO(batch))
    add("archive-tar", tar.getvalue(), cifar10._from_archive)
    add("archive-gz", gzip.compress(tar.getvalue(), 1), cifar10._from_archive)
    header = "annotator_id,is_attn_check,true_label,chosen_label,cifar10_test_test_idx\n"
    rows = [f"{m},0,{truth[i]},{(truth[i] + (m == 2)) % 10},{i}\n" for i in range(40) for m in range(3)]
    add("cifar10h.csv", (header + "".join(rows)).encode(), human_labels.read_cifar10h)
    columns = {name: truth for name in (*human_labels.CIFAR10N_COLUMNS, "clean_label")}
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", kind) as archive:
            archive.writestr("a/data.pkl", pickle.dumps(columns, 2))
        add(f"cifar10n-{kind}.pt", packed.getvalue(), human_labels.read_cifar10n)
    add("columns", pickle.dumps(columns, 2), lambda path: load_arrays(path.read_bytes(), path))
    arrays = {"answers": random.integers(-1, 8, (40, 5)), "labels_train": truth % 8, "labels_test": truth % 8,
              "data_train_vgg16": random.normal(size=(40, 6)), "data_test_vgg16": random.normal(size=(40, 6))}
    for name, array in arrays.items():
        packed = io.BytesIO()
        np.save(packed, array)
        add(f"labelme-{name}", packed.getvalue(), lambda _: labelme.load(_LabelMe(folder / "labelme")),
            f"labelme/{name}.npy")
    add("array.npy", packed.getvalue(), read_array)
    color, grey = pixels[0].reshape(32, 32, 3), pixels[0][:1024].reshape(32, 32)
    for kind, image in (("jpg", color), ("png", color), ("tif", grey.astype(np.uint16)), ("gif", grey), ("bmp", grey),
                        ("webp", color)):
        packed = io.BytesIO()
        Image.fromarray(image).save(packed, kind.replace("jpg", "jpeg").replace("tif", "tiff"))
        add(f"image-{kind}", packed.getvalue(), lambda path: fit(read_source(images=str(path.parent)), [0], size=16),
            f"image-{kind}/a.{kind}")
    add("list.csv", b"image-jpg/a.jpg,0\n/image-png/a.png,1\n", lambda path: image_lists.read_lists(folder, [path.name], 2))
    add("candidates.csv", b"seriesuid,coordX,coordY,coordZ,class\n" + b"scan,1.5,2,-3.25,1\nscan,1,2,3,0\n" * 3,
        prepare.read_candidates)
    for compress in (False, True):
        file = folder / f"scan{compress}.mhd"
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(random.integers(-1000, 400, (4, 6, 8)).astype(np.int16)), str(file),
                             compress)
        data = file.with_suffix(".zraw" if compress else ".raw")
        add(f"scan-header-{compress}", file.read_bytes(), prepare.read_scan, file.name)
        add(f"scan-data-{compress}", data.read_bytes(), lambda _, file=file: prepare.read_scan(file), data.name)

    long = "task,worker,label\n" + "".join(f"i{k % 20},w{k // 20},{'yes' if k % 3 else 'no'}\n" for k in range(60))
    add("answers-long.csv", long.encode(), read_answers)
    add("answers.csv.gz", gzip.compress(long.encode()), read_answers)
    wide = "task\ta\tb\n" + "".join(f"i{k}\t{k % 2}\t{'' if k % 5 == 0 else k % 2}\n" for k in range(20))
    add("answers-wide.tsv", wide.encode(), read_answers)
    add("answers.json", json.dumps({f"i{k}": {"a": k % 2, "b": 1 - k % 2} for k in range(10)}).encode(), read_answers)
    add("truth.csv", b"task,label\n" + b"".join(b"i%d,%s\n" % (k, b"no" if k % 2 else b"yes") for k in range(20)),
        lambda path: read_labels(str(path), ["no", "yes"], "no answer has"))
    features = "task,a,b\n" + "".join(f"i{k},{k},{k * .5}\n" for k in range(10))
    add("features.csv", features.encode(), lambda path: _fitted(features=str(path)))
    packed = io.BytesIO()
    np.save(packed, random.normal(size=(10, 3)))
    add("features.npy", packed.getvalue(), lambda path: _fitted(features=str(path)))
    add("items.txt", b"".join(b"i%d\n" % k for k in range(10)), lambda path: _fitted(features=str(folder / "whole.npy"),
                                                                                   items=str(path)))
    (folder / "whole.npy").write_bytes(packed.getvalue())
    texts = "task,text\n" + "".join(f'i{k},"{"good, fine" if k % 2 else "bad; dull"} film {k % 3}"\n' for k in range(10))
    add("texts.csv", texts.encode(), lambda path: _fitted(texts=str(path)))

    for name, read in (("model.pt", lambda path: load_model(path)), (CHECKPOINT, _checkpoint),
                       (SUMMARY, lambda path: read_summary(path.parent)),
                       (CONFIG, partial(_config, read_record(run / CONFIG)))):
        kept = _same(read(run / name), read) if name in ("model.pt", CHECKPOINT) else read
        add(name, (run / name).read_bytes(), kept, f"run/{name}")
    unsealed = (run / CHECKPOINT).read_bytes()[:-LENGTH - 2] + b"\0\0"
    (folder / "resealed").mkdir()
    add("checkpoint-resealed", unsealed, _resealed(folder / "resealed" / CHECKPOINT))
    state = {"weight": torch.eye(2), "bias": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)), "steps": [1, 2.5]}
    for name, new in (("weights-new", True), ("weights-old", False)):
        packed = io.BytesIO()
        torch.save(state, packed, _use_new_zipfile_serialization=new)
        add(name, packed.getvalue(), load_tensors)
    return made


class _LabelMe:
    """labelme.load's options."""
    copies, select, train_size, test_size = None, "none", None, None

    def __init__(self, path):
        self.path = path


def _fitted(**how):
    source = read_source(**how)
    apply(source, fit(source, np.arange(len(source))))


def _folder(path, config=None):
    folder = RunFolder.__new__(RunFolder)  # without the flags and data of a run
    folder.path, folder.fresh, folder.config = path.parent, False, config
    return folder


def _checkpoint(path):
    return _folder(path)._read_checkpoint()


def seal(content):
    """The content of a zip archive that ends with an empty comment, sealed as save_tensors does it."""
    return content[:-2] + LENGTH.to_bytes(2, "little") + SEAL % zlib.crc32(content[:-2] + b"\0\0")


def _resealed(checkpoint):
    """A function of a path that reads what stands there as the checkpoint, under a seal that holds."""
    def read(path):
        checkpoint.write_bytes(seal(path.read_bytes()))
        state = _checkpoint(checkpoint)
        can_be_of(state, {"methods": ["majority-vote"], "epochs": 1})
    return read


def _config(config, path):
    try:
        found = read_record(path)
    except ValueError:
        return
    _folder(path, config).refuse_another(found)


def outcome(read, path):
    """read, refused, or the exception that is neither."""
    try:
        with redirect_stdout(io.StringIO()):
            read(path)
    except (UserError, decoding.NotAnImage):
        return "refused"
    except Exception as error:
        return error
    return "read"


def run_of_own_data(folder):
    """A finished run of OwnData/main.py on a few features, for `make`."""
    import own_data
    from common.training.options import parse
    from common.training.run import run
    from OwnData.options import PROTOCOL, OwnOptions
    random = np.random.default_rng(0)
    rows = random.integers(0, 2, 24)
    (folder / "a.csv").write_text("task,worker,label\n" + "".join(f"{k},{w},{rows[k]}\n" for k in range(24) for w in "abc"))
    np.save(folder / "f.npy", random.normal(size=(24, 3)) + rows[:, None])
    options = parse(OwnOptions, PROTOCOL, "", [
        "--answers", str(folder / "a.csv"), "--features", str(folder / "f.npy"), "--epochs", "1", "--methods",
        "majority-vote", "--select", "none", "--device", "cpu", "--out", str(folder / "run")])
    with redirect_stdout(io.StringIO()):
        run(*own_data.load(options), options)
    torch.set_num_threads(1)
    return folder / "run"
