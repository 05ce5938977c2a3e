"""LUNA16's nodule candidates as 50 x 50 crops, as prepare.py makes them, and their crowd."""
import numpy as np

from common.crowd.synthetic import Experts
from common.data.image_lists import left_out_file, read_items, read_lists
from common.data.images import IMAGENET, Augmentation
from common.data.opening import folder_at
from common.system.errors import UserError

CLASSES = ["negative", "nodule"]
SIZE = 150
EXPERTS = {
    1: Experts(np.array([[[.6, .4], [.1, .9]], [[.9, .1], [.4, .6]], [[.6, .4], [.3, .7]], [[.7, .3], [.3, .7]],
                         [[.7, .3], [.4, .6]]]), naive=5, copied=(0, 0, 0, 1, 1)),
    0: Experts(np.array([[[.6, .4], [.4, .6]]] * 10), naive=15, copied=(0, 1)),
}
LISTS = ("train_file.csv", "val_file.csv")


def load(path):
    """(train, test, files): Items of the crops listed in folder `path`, and what to note of them (Dataset.files)."""
    if path is None:
        raise UserError(f"--path: missing; give the folder with {' and '.join(LISTS)} that prepare.py makes")
    path = folder_at(path, "--path")
    for name in LISTS:
        if not (path / name).is_file():
            raise UserError(f"--path {path}: has no {name}; prepare.py makes it from the challenge's files")
    left_out, splits = [], []
    for names, truth in read_lists(path, LISTS, len(CLASSES)):
        items, broken = read_items([path / item for item in names], names, truth, SIZE, "L", *IMAGENET,
                                   Augmentation(True, 45))
        splits.append(items)
        left_out += broken
    return *splits, left_out_file(left_out)
