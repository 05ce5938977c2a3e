"""The papers' image data sets: images by lists of files and classes, and the items of those that can be decoded."""
import csv
import io
import os
import re

import numpy as np
import torch

from common.data.dataset import Items
from common.data.decoding import decode
from common.data.images import ImageSet
from common.data.opening import read_text
from common.system.errors import UserError, echo, first_few


def read_items(files, names, truth, size, mode, mean, deviation, augmentation):
    """(Items, left_out): the images of these files, and the names of those that cannot be decoded, also on the screen.

    Raises UserError where of a class none can be decoded.
    """
    pixels, readable = decode(files, size, mode)
    images = ImageSet(pixels, mean, deviation, augmentation)
    truth = np.asarray(truth, np.int64)
    left_out = [name for name, succeeded in zip(names, readable, strict=True) if not succeeded]
    if left_out:
        echo(f"notice: {len(left_out)} images could not be decoded and are left out: {first_few(left_out)}")
        gone = set(truth) - set(truth[readable])
        if gone:
            first = names[int(np.flatnonzero(truth == min(gone))[0])]
            raise UserError(f"{first}: cannot be decoded, nor can any other image of its class; expected some of each")
        images, truth = images.select(torch.from_numpy(np.flatnonzero(readable))), truth[readable]
        names = [name for name, succeeded in zip(names, readable, strict=True) if succeeded]
    return Items(images, torch.from_numpy(truth), list(names)), left_out


def left_out_file(names):
    """{file name: text}, for Dataset.files: the images that could not be decoded, none where there are none."""
    return {"left_out.csv": table([("item",), *((name,) for name in names)])} if names else {}


def table(rows):
    """The text of a csv file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_lists(folder, lists, classes):
    """[(names, truth)] of the lists, names of files in `folder`, of images with rows `name,class`, names relative to the
    folder, with or without a slash in front.

    Raises UserError for a row that is not of that form, or names a file that is not in the folder, for a file that is in
    two of the lists, or has two classes, and for a list without an image of every class.
    """
    found = {}  # {name: (its class, its list)}
    splits = []
    for name in lists:
        file = folder / name
        names, truth = _read_list(file, classes)
        outside = next((item for item in names if item.startswith("../") or item == ".."), None)
        if outside:
            raise UserError(f"{file}: names {outside}, which is outside of {folder}")
        missing = [item for item in names if not _is_file(folder / item)]
        if missing:
            raise UserError(f"{file}: names {missing[0]}, which is not in {folder}"
                            + (f", and {len(missing) - 1} more that are not" if len(missing) > 1 else ""))
        if set(truth) != set(range(classes)):
            raise UserError(f"{file}: expected images of all {classes} classes in it")
        for item, c in zip(names, truth, strict=True):
            its_class, its_list = found.setdefault(item, (c, name))
            if its_list != name:
                raise UserError(f"{file}: names {item}, which {its_list} names too; expected each image in one of them")
            if its_class != c:
                raise UserError(f"{file}: names {item} twice, with class {its_class} and {c}; expected one")
        splits.append((names, truth))
    return splits


def _read_list(file, classes):
    """(names, truth) of a list of images; two names of one file are made the same."""
    names, truth = [], []
    with read_text(file) as lines:
        try:
            for number, row in enumerate(csv.reader(lines), 1):
                if len(row) != 2 or not re.fullmatch(r"\s*[0-9]{1,9}\s*", row[1]) or not int(row[1]) < classes:
                    raise UserError(f"{file}, line {number}: {','.join(row)[:80]!r}; expected a file's name and its class, "
                                    f"from 0 to {classes - 1}")
                names.append(os.path.normpath(row[0].strip().lstrip("/")))
                truth.append(int(row[1]))
        except csv.Error as error:
            raise UserError(f"{file}: not a list ({error}); expected rows of a file's name and its class") from None
    return names, truth


def _is_file(path):
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the file system, or with a zero byte
        return False
