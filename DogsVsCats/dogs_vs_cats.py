"""Dogs vs. Cats: Kaggle's training images or Microsoft's PetImages, and their crowd."""
import numpy as np
from sklearn.model_selection import train_test_split

from common.crowd.synthetic import Experts
from common.data.image_lists import left_out_file, read_items, read_lists, table
from common.data.images import IMAGENET, Augmentation
from common.data.opening import folder_at
from common.system.errors import UserError

CLASSES = ["cat", "dog"]
SIZE = 150
EXPERTS = {
    1: Experts(np.array([[[.6, .4], [.1, .9]], [[.8, .2], [.4, .6]], [[.6, .4], [.4, .6]], [[.7, .3], [.3, .7]],
                         [[.7, .3], [.4, .6]]]), naive=5, copied=(0, 0, 0, 1, 1)),
    0: Experts(np.array([[[.55, .45], [.45, .55]]] * 10), naive=15, copied=(0, 1)),
}
LISTS = ("train_file.csv", "val_file.csv")


def load(path):
    """(train, test, files): Items of the images in folder `path`, and what to note of them (Dataset.files)."""
    if path is None:
        raise UserError("--path: missing; give the folder that holds cat.0.jpg, dog.0.jpg ..., or PetImages/")
    path = folder_at(path, "--path")
    if all((path / name).is_file() for name in LISTS):
        splits, files = read_lists(path, LISTS, len(CLASSES)), {}
    else:
        splits = _halves(*_find(path))
        files = {f"split_{name}": table(zip(*split, strict=True)) for name, split in zip(LISTS, splits, strict=True)}
    (train, train_left_out), (test, test_left_out) = (
        read_items([path / name for name in names], names, truth, SIZE, "RGB", *IMAGENET, Augmentation(True, 45))
        for names, truth in splits)
    return train, test, files | left_out_file(train_left_out + test_left_out)


def _find(path):
    """(names, truth) of cat.N.jpg and dog.N.jpg in `path`, else of PetImages/Cat/N.jpg and PetImages/Dog/N.jpg."""
    for patterns in (("cat.*.jpg", "dog.*.jpg"), ("PetImages/Cat/*.jpg", "PetImages/Dog/*.jpg"),
                     ("Cat/*.jpg", "Dog/*.jpg")):
        found = [sorted(file.relative_to(path).as_posix() for file in path.glob(pattern)) for pattern in patterns]
        if all(found):
            if min(map(len, found)) < 2:
                raise UserError(f"--path {path}: one image of a class; expected two or more, to train and to test")
            return sum(found, []), [0] * len(found[0]) + [1] * len(found[1])
    more = f": --path {path / 'train'}" * (path / "train").is_dir()
    raise UserError(f"--path {path}: no cats and dogs in it; expected cat.0.jpg, dog.0.jpg ..., or PetImages/Cat and "
                    f"PetImages/Dog with .jpg files{more}")


def _halves(names, truth):
    """Two equal halves with as many of each class, always the same for the same files."""
    first, second = train_test_split(np.arange(len(names)), test_size=.5, random_state=0, stratify=truth)
    return [([names[i] for i in half], [truth[i] for i in half]) for half in (sorted(first), sorted(second))]
