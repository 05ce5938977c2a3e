"""LabelMe's prepared arrays: VGG-16 features of its images, and what 59 annotators from the crowd called them."""
from pathlib import Path

import numpy as np
import torch

from common.crowd.labels import CrowdLabels
from common.data.dataset import Dataset, Items, cut
from common.data.features import FeatureSet, flat
from common.data.opening import folder_at, read_array
from common.system.errors import UserError

CLASSES = ["highway", "insidecity", "tallbuilding", "street", "forest", "coast", "mountain", "opencountry"]
ARCHIVE = "http://fprodrigues.com/deep_LabelMe.tar.gz"
FILES = ("data_train_vgg16.npy", "answers.npy", "labels_train.npy", "data_test_vgg16.npy", "labels_test.npy")
OPTIONAL = ("data_valid_vgg16.npy", "labels_valid.npy")


def load(options):
    """The Dataset in folder options.path. copies: how many rows in turn are one image, None to find out; select "valid":
    with the validation images; train_size and test_size count images. UserError for what cannot be used."""
    folder = folder_at(options.path or Path(__file__).parent / "prepared", "--path",
                       f"; it is `prepared` of {ARCHIVE}, with {', '.join(FILES)}")
    answers = _read(folder, "answers.npy")
    train = _items(folder, "train", rows=_count(folder, answers))
    _check_labels(answers, folder / "answers.npy", least=-1)
    copies = options.copies or _find_copies(answers, train.inputs.features.numpy())
    if len(train) % copies:
        raise UserError(f"--copies {copies}: the {len(train)} training rows are no multiple of it; give a divisor of "
                        f"{len(train)}, or leave it out")
    crowd = CrowdLabels.from_dense(answers, len(CLASSES))
    images = [str(row // copies) for row in range(len(train))]
    train = Items(train.inputs, train.truth, images, crowd, copies)
    width = train.inputs.features.shape[1]
    train, test = cut(train, _items(folder, "test", width=width), len(CLASSES), options)
    valid = _items(folder, "valid", width=width) if options.select == "valid" else None
    return Dataset(train, test, CLASSES, [str(m) for m in range(answers.shape[1])], valid)


def _read(folder, name):
    file = folder / name
    if not file.exists():
        raise UserError(f"{file}: missing; {ARCHIVE} holds {', '.join((*FILES, *OPTIONAL))}")
    return read_array(file)


def _count(folder, answers):
    """How many rows answers.npy has, as an (N, M) array for as many rows of features."""
    rows = len(_read(folder, "labels_train.npy"))
    if answers.ndim != 2:
        raise UserError(f"{folder / 'answers.npy'}: shape {answers.shape}, expected (items, annotators)")
    if len(answers) != rows:
        turned = "; it looks transposed" if answers.shape[1] == rows else ""
        raise UserError(f"{folder / 'answers.npy'}: shape {answers.shape}, expected ({rows}, annotators) "
                        f"as labels_train.npy has {rows} rows{turned}")
    return rows


def _items(folder, split, rows=None, width=None):
    """Items without a crowd, of data_<split>_vgg16.npy and labels_<split>.npy. width: how many features there shall be."""
    name = f"data_{split}_vgg16.npy"
    features, labels = _read(folder, name), _read(folder, f"labels_{split}.npy")
    if labels.ndim != 1:
        raise UserError(f"{folder / f'labels_{split}.npy'}: shape {labels.shape}, expected one label for each row")
    if features.ndim < 2 or len(features) != len(labels):
        raise UserError(f"{folder / name}: shape {features.shape}, expected {rows or len(labels)} rows of features "
                        f"as labels_{split}.npy has")
    _check_labels(labels, folder / f"labels_{split}.npy", least=-1 if split == "train" else 0)
    features = flat(features)
    if width not in (None, features.shape[1]):
        raise UserError(f"{folder / name}: {features.shape[1]} features; expected {width}, as data_train_vgg16.npy has")
    bad = int((~torch.isfinite(features)).sum())
    if bad:
        raise UserError(f"{folder / name}: {bad} numbers are NaN or infinite, as float32; expected features")
    names = [str(row) for row in range(len(labels))]
    return Items(FeatureSet(features), torch.from_numpy(labels.astype(np.int64)), names)


def _check_labels(labels, file, least):
    valid = (labels >= least) & (labels < len(CLASSES)) & (labels == np.round(labels))
    if not valid.all():
        raise UserError(f"{file}: holds {labels[~valid][0]}; expected whole numbers from {least} to {len(CLASSES) - 1}")


def _find_copies(answers, features):
    """The largest k such that each k rows in turn have equal answers; 1 where all rows have, or where those of some group
    have equal features too: they are no augmented copies of one image, and nobody knows what they are."""
    changes = np.flatnonzero((answers[1:] != answers[:-1]).any(1)) + 1  # where a row differs from the one before
    copies = int(np.gcd.reduce([*changes, len(answers)]))
    groups = features.reshape(-1, copies, features.shape[1])
    differ = (groups != groups[:, :1]).any((1, 2)).all()
    return copies if differ and len(groups) > 1 else 1
