"""CIFAR-10's files, from the python version's batches, its archive or a folder of images; its crowd."""
import gzip
import hashlib
import tarfile
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR10

from common.crowd.synthetic import pair_experts
from common.data.dataset import Items
from common.data.image_lists import left_out_file, read_items
from common.data.images import Augmentation, ImageSet
from common.data.opening import BROKEN, GZIP, MB, Bounded, folder_at, opened, read_bytes
from common.data.pickles import load_arrays
from common.system.errors import UserError, echo

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
# classes that are hard to tell apart: airplane and bird, automobile and truck, cat and dog, deer and horse, frog and ship
EXPERTS = pair_experts(((0, 2), (1, 9), (3, 5), (4, 7), (6, 8)))
MEAN, DEVIATION = (.4914, .4822, .4465), (.2470, .2435, .2616)
AUGMENTATION = Augmentation(flip=True, rotation=15)
FOLDER, ARCHIVE = CIFAR10.base_folder, CIFAR10.filename
LARGEST = 256 * MB  # of a batch; the published ones have 31 MB
UNPACKED = 8 * LARGEST  # of the archive


def load(path, download=False):
    """(train, test, files): Items of the CIFAR-10 in folder `path`, and what to note of them (Dataset.files); UserError
    where there is none."""
    if path is None:
        raise UserError(f"--path: missing; give the folder that holds {FOLDER}, {ARCHIVE}, or train/<class>/ and "
                        "test/<class>/ with images")
    path = Path(path)
    if download and not (path / FOLDER).exists():
        _download(path)
    folder_at(path, "--path")
    if (path / FOLDER).is_dir():
        return _from_batches(lambda name: read_bytes(path / FOLDER / name, LARGEST), path / FOLDER)
    if (path / ARCHIVE).is_file():
        return _from_archive(path / ARCHIVE)
    if (path / "train").is_dir() and (path / "test").is_dir():
        train, train_left_out = _from_images(path, "train")
        test, test_left_out = _from_images(path, "test")
        return train, test, left_out_file(train_left_out + test_left_out)
    raise UserError(f"--path {path}: no CIFAR-10 in it; expected {FOLDER}, {ARCHIVE}, or train/<class>/ and "
                    "test/<class>/ with images")


def _download(path):
    try:
        CIFAR10(path, download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"--download: CIFAR-10 could not be fetched into {path} ({error})") from None


def _from_archive(archive):
    wanted = {name for name, _ in CIFAR10.train_list + CIFAR10.test_list}
    batches = {}
    with opened(archive) as file:
        gzipped = file.read(2) == GZIP
        file.seek(0)
        content = Bounded(gzip.GzipFile(fileobj=file) if gzipped else file, UNPACKED, LARGEST)
        try:
            with tarfile.open(fileobj=content, mode="r:") as tar:
                for member in tar:
                    name = Path(member.name).name
                    if member.isfile() and not member.issparse() and name in wanted:
                        batches[name] = tar.extractfile(member).read()
        except (*BROKEN, tarfile.TarError, ValueError, OverflowError) as error:
            raise UserError(f"{archive}: cut short or broken ({error}); get the file again") from None

    def read(name):
        if name not in batches:
            raise UserError(f"{archive}: has no {name}")
        return batches[name]
    return _from_batches(read, archive)


def _from_batches(read, where):
    """read(name) gives a batch's bytes; `where` stands for their place in messages."""
    changed = []

    def load_split(files, prefix):
        pixels, truth = [], []
        for name, md5 in files:
            content = read(name)
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                changed.append(name)
            rows, labels = _batch(content, f"{where}/{name}")
            pixels.append(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            truth.append(labels)
        return _items(np.concatenate(pixels), np.concatenate(truth), prefix)

    splits = *(load_split(*split) for split in ((CIFAR10.train_list, "train"), (CIFAR10.test_list, "test"))), {}
    if changed:
        echo(f"notice: {where}: not the published md5, used all the same: {', '.join(changed)}")
    return splits


def _batch(content, name):
    """(uint8 (N, 3072), int64 (N,)) of a batch's pickle."""
    batch = load_arrays(content, name)
    batch = batch if isinstance(batch, dict) else {}
    rows, labels = batch.get("data"), batch.get("labels")
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
        raise UserError(f"{name}: expected uint8 data (N, 3072) in it")
    if (not isinstance(labels, list) or len(labels) != len(rows)
            or not all(isinstance(label, int) and 0 <= label < 10 for label in labels)):
        raise UserError(f"{name}: expected a list of {len(rows)} labels from 0 to 9 in it")
    return rows, np.array(labels, np.int64)


def _items(pixels, truth, prefix):
    """The batches have no names of their own that are unique: their images are called by their places."""
    images = ImageSet(torch.from_numpy(np.ascontiguousarray(pixels)), MEAN, DEVIATION, AUGMENTATION)
    return Items(images, torch.from_numpy(truth), [f"{prefix}_{i}" for i in range(len(truth))])


def _from_images(path, split):
    """(Items, names left out) of path/split/<class>/*.png|jpg."""
    folder = path / split
    unknown = sorted(sub.name for sub in folder.iterdir() if sub.is_dir() and sub.name not in CLASSES)
    if unknown:
        raise UserError(f"{folder / unknown[0]}: not a class of CIFAR-10; expected {', '.join(CLASSES)}")
    files = sorted(file for name in CLASSES for file in (folder / name).glob("*")
                   if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    truth = [CLASSES.index(file.parent.name) for file in files]
    missing = [name for c, name in enumerate(CLASSES) if c not in truth]
    if missing:
        raise UserError(f"{folder / missing[0]}: no .png or .jpg in it; every class needs some")
    names = [file.relative_to(path).as_posix() for file in files]
    return read_items(files, names, truth, 32, "RGB", MEAN, DEVIATION, AUGMENTATION)
