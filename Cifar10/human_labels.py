"""Real crowds for CIFAR-10: CIFAR-10H, 50 labels for each test image, and CIFAR-10N, three for each training image."""
import csv
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common.crowd.labels import CrowdLabels
from common.data.dataset import Dataset, cut, subsampled
from common.data.opening import MB, opened, read_text, zip_member
from common.data.pickles import load_arrays
from common.system.errors import UserError

CLASSES = 10
LARGEST = 100 * MB  # of CIFAR-10_human.pt, which has 3
ITEM_COLUMNS = ("cifar10_test_test_idx", "cifar10_test_set_idx")  # as the published file and as its description have it
COLUMNS = ("annotator_id", "is_attn_check", "true_label", "chosen_label")
CIFAR10N_COLUMNS = ("random_label1", "random_label2", "random_label3")


def human_crowd(train, test, class_names, options, files):
    """The Dataset of options.crowd, cifar10h or cifar10n, read from options.crowd_path.

    CIFAR-10H has people's labels for CIFAR-10's test images: those are trained on, and the training images tested on.
    """
    if options.crowd_path is None:
        raise UserError(f"--crowd-path: missing; give the file of --crowd {options.crowd}, cifar10h-raw.csv or "
                        "CIFAR-10_human.pt")
    path = Path(options.crowd_path)
    if options.crowd == "cifar10h":
        train, test = test, train
        crowd, names, truth = read_cifar10h(path)
        if options.hardest is not None:
            crowd, names = hardest(crowd, names, truth, options.hardest)
    else:
        crowd, names, truth = read_cifar10n(path)
    if len(crowd) != len(train) or not np.array_equal(truth, train.truth.numpy()):
        raise UserError(f"--crowd-path {path}: its true labels are not those of the images in --path, in their order; "
                        "expected CIFAR-10's batches")
    train = replace(train, crowd=subsampled(crowd, options.labels_per_item, seed=0))
    train, test = cut(train, test, CLASSES, options)
    return Dataset(train, test, class_names, names, files=files)


def read_cifar10h(path):
    """(CrowdLabels, annotators' ids, true labels (N,)) of cifar10h-raw.csv; the attention checks are left out."""
    with read_text(path, f"--crowd-path {path}") as file:
        try:
            rows = csv.reader(file)
            header = next(rows, [])
            item_column = next((name for name in ITEM_COLUMNS if name in header), None)
            if item_column is None or not set(COLUMNS) <= set(header):
                raise UserError(f"--crowd-path {path}: expected the columns {', '.join((*COLUMNS, ITEM_COLUMNS[0]))}")
            wanted = [header.index(name) for name in (*COLUMNS, item_column)]
            cells = np.array([[row[k] for k in wanted] for row in rows], dtype=np.int64).reshape(-1, len(wanted))
        except (ValueError, IndexError, OverflowError, csv.Error) as error:
            raise UserError(f"--crowd-path {path}: a row is broken ({error}); expected whole numbers") from None
    annotator, _, truth, label, item = cells[cells[:, 1] == 0].T
    if not len(item) or item.min() < 0 or min(label.min(), truth.min()) < 0 or max(label.max(), truth.max()) >= CLASSES:
        raise UserError(f"--crowd-path {path}: expected labels from 0 to 9 of images from 0 on")
    if item.max() >= len(item):  # before room is made for as many
        raise UserError(f"--crowd-path {path}: {len(item)} labels, one of image {item.max()}; expected labels of each image "
                        "from 0 on")
    true_labels = np.full(item.max() + 1, -1)
    true_labels[item] = truth
    ids, annotator = np.unique(annotator, return_inverse=True)
    crowd = CrowdLabels.from_triples(item, annotator, label, len(true_labels), len(ids), CLASSES)
    return crowd, [str(annotator_id) for annotator_id in ids], true_labels


def hardest(crowd, names, truth, keep):
    """The labels of the `keep` annotators with the most errors alone, and their names: all 50 labels of an item leave
    little to learn."""
    if keep > len(names):
        raise UserError(f"--hardest {keep}: there are {len(names)} annotators; give at most so many")
    item, annotator, label = (tensor.numpy() for tensor in (crowd.item, crowd.annotator, crowd.label))
    errors = np.bincount(annotator, label != truth[item], len(names))
    chosen = np.sort(np.argsort(-errors, kind="stable")[:keep])
    number = np.full(len(names), -1)
    number[chosen] = np.arange(keep)
    theirs = number[annotator] >= 0
    crowd = CrowdLabels.from_triples(item[theirs], number[annotator[theirs]], label[theirs], len(crowd), keep, CLASSES)
    return crowd, [names[m] for m in chosen]


def read_cifar10n(path):
    """(CrowdLabels, column names, true labels (N,)) of CIFAR-10_human.pt: its three label columns as three annotators.

    The file is a pickled dictionary of arrays in a zip archive; nothing in it is executed.
    """
    with opened(path, f"--crowd-path {path}", LARGEST) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                name = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
                if name is None:
                    raise UserError(f"--crowd-path {path}: has no data.pkl; expected CIFAR-10_human.pt")
                content = zip_member(archive, name, LARGEST)
        except (zipfile.BadZipFile, NotImplementedError, ValueError):  # what zipfile raises for a broken directory
            raise UserError(f"--crowd-path {path}: cut short, or not a file that torch saved") from None
    columns = load_arrays(content, f"--crowd-path {path}")
    wanted = (*CIFAR10N_COLUMNS, "clean_label")
    arrays = [columns.get(name) if isinstance(columns, dict) else None for name in wanted]
    for name, array in zip(wanted, arrays, strict=True):
        if (not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or array.shape != arrays[0].shape
                or array.ndim != 1 or not len(array) or array.min() < 0 or array.max() >= CLASSES):
            raise UserError(f"--crowd-path {path}: expected {name}, a label from 0 to 9 for each training image")
    *labels, truth = (array.astype(np.int64) for array in arrays)
    return CrowdLabels.from_dense(torch.from_numpy(np.column_stack(labels)), CLASSES), list(CIFAR10N_COLUMNS), truth
