"""Image sets held on the device as uint8, their batches and augmentation, and the decoding of image files."""
import contextlib
import csv
import hashlib
import math
import os
import re
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from tqdm import tqdm

from common.data.dataset import Items
from common.data.opening import opened, read_text
from common.errors import UserError, printable
from common.files import replace_file

IMAGENET = (.485, .456, .406), (.229, .224, .225)  # mean and deviation


@dataclass(frozen=True)
class Augmentation:
    """flip: mirror every other image; rotation: turn it by up to so many degrees, either way (black fills in)."""
    flip: bool
    rotation: float

    def draw(self, count, generator, device):
        """float32 (count, 2, 3): a random affine map for each image, as torch's affine_grid takes it."""
        angle = (torch.rand(count, generator=generator) * 2 - 1) * math.radians(self.rotation)
        mirror = torch.where(torch.rand(count, generator=generator) < .5, -1., 1.) if self.flip else torch.ones(count)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(count)
        return torch.stack([cos * mirror, -sin, zero, sin * mirror, cos, zero], 1).view(-1, 2, 3).to(device)


class ImageSet:
    """N images, decoded once and kept as uint8 (N, H, W, K) on the device; normalised there, a batch at a time."""

    def __init__(self, images, mean, deviation, augmentation=None):
        """images: uint8 (N, H, W, K), or with one channel for K equal ones; mean, deviation: K numbers each, of pixels
        between 0 and 1."""
        self.images, self.mean, self.deviation, self.augmentation = images, mean, deviation, augmentation
        self.scale = 1 / (255 * torch.tensor(deviation, device=images.device))
        self.shift = -torch.tensor(mean, device=images.device) / torch.tensor(deviation, device=images.device)

    def __len__(self):
        return len(self.images)

    def select(self, items):
        return ImageSet(self.images[items], self.mean, self.deviation, self.augmentation)

    def to(self, device):
        return ImageSet(self.images.to(device), self.mean, self.deviation, self.augmentation)

    def checksum(self, start=0):
        return zlib.crc32(self.images.numpy(), start)

    def draw(self, generator):
        """The random maps of one pass over the set, float32 (N, 2, 3)."""
        return self.augmentation.draw(len(self), generator, self.images.device)

    def view(self, items):
        """`batch` with maps of its own, drawn from torch's global generator."""
        return self.batch(items, self.augmentation.draw(len(items), None, self.images.device))

    def batch(self, items, maps=None):
        """float32 (B, K, H, W), channels last: the normalised images of `items` (int64 (B,) or a slice), each
        moved by its map in `maps` (B, 2, 3)."""
        pixels = self.images[items].float()
        if maps is not None:
            pixels = pixels.permute(0, 3, 1, 2)
            grid = functional.affine_grid(maps, pixels.shape, align_corners=False)
            pixels = functional.grid_sample(pixels, grid, align_corners=False).permute(0, 2, 3, 1)
        return torch.addcmul(self.shift, pixels, self.scale).permute(0, 3, 1, 2)


def cache_folder():
    """Where decoded image sets are kept between runs; None for a user without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "learning-from-crowds"
    except RuntimeError:
        return None


def eight_bits(image):
    """An opened image; one of more than 8 bits a pixel with its range, of 16 bits or more, scaled to 8."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.array(image, np.float32)
    np.nan_to_num(values, copy=False)
    top = 255 if values.max() <= 255 else max(65535, values.max())
    values *= 255 / top
    return Image.fromarray(values.clip(0, 255, out=values).astype(np.uint8))


def _resize(image, size, mode):
    """An opened image in `mode`, resized (bilinear) if it is of another size."""
    image = eight_bits(image).convert(mode)
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)


def decode(files, size, mode="RGB", fit=_resize, keep=True):
    """Decodes image files on all cores: uint8 (N, size, size, K) and bool (N,), which of them could be read.

    fit(image, size, mode) makes an opened image one of `size`. The result is kept in one file of cache_folder(), named by
    the list of files with their sizes and times, and read back from there the next time, unless not `keep`.
    """
    shape = (len(files), size, size, len(mode))
    key = repr(([_stamp(file) for file in files], size, mode, fit.__name__)).encode()
    folder = cache_folder() if keep else None
    cache = folder / f"{hashlib.sha256(key).hexdigest()[:24]}.npz" if folder else None
    kept = _read_cache(cache, shape) if cache else None
    if kept:
        return kept

    images = np.zeros(shape, np.uint8)

    def read(index):
        try:
            with open_image(files[index]) as image:
                images[index] = np.asarray(fit(image, size, mode)).reshape(size, size, -1)
            return True
        except NotAnImage:
            return False

    with ThreadPoolExecutor() as pool, warnings.catch_warnings():  # Pillow works outside the interpreter's lock
        warnings.simplefilter("ignore")  # of what Pillow finds odd in a file
        readable = np.fromiter(tqdm(pool.map(read, range(len(files))), "decoding images", len(files), disable=None), bool)
    if not cache:
        return images, readable
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        replace_file(cache, lambda file: np.savez(file, images=images, readable=readable))
    except OSError as error:
        print(f"the decoded images could not be kept in {cache}: {error.strerror}")
    return images, readable


def _stamp(file):
    """By what a file is known: its name, size and time; the name alone of what is not there, a dangling link for one."""
    try:
        status = os.stat(file)
        return str(file), status.st_size, status.st_mtime_ns
    except OSError:
        return str(file)


def _read_cache(cache, shape):
    """(images, readable) of a cache's file, images of this shape; None where there is none, or a broken one."""
    try:
        with opened(cache) as file, zipfile.ZipFile(file) as archive:
            if archive.getinfo("images.npy").file_size > math.prod(shape) + 1000:
                return None
            file.seek(0)
            with np.load(file) as saved:
                images, readable = saved["images"], saved["readable"]
    except Exception:  # zipfile and numpy raise many kinds
        return None
    whole = images.shape == shape and images.dtype == np.uint8 and readable.shape == shape[:1] and readable.dtype == bool
    return (images, readable) if whole else None


class NotAnImage(Exception):
    """A file that Pillow cannot read."""


@contextlib.contextmanager
def open_image(file):
    """An opened image, in a `with`; raises NotAnImage for whatever is wrong with it, then or inside the `with`."""
    try:
        with opened(file) as content, Image.open(content) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:  # Pillow itself refuses twice as many
                raise NotAnImage(f"{image.width} x {image.height} pixels")
            yield image
    except Exception as error:  # a broken file can make Pillow raise nearly anything
        raise NotAnImage(str(error)) from None


def read_items(files, names, truth, size, mode, mean, deviation, augmentation):
    """(Items, left_out): the images of these files, and the names of those that cannot be decoded, also on the screen.

    Raises UserError where of a class none can be decoded.
    """
    images, readable = decode(files, size, mode)
    truth = np.asarray(truth, np.int64)
    left_out = [name for name, good in zip(names, readable, strict=True) if not good]
    if left_out:
        print(f"notice: {len(left_out)} images could not be decoded and are left out: "
              + printable(", ".join(left_out[:5])) + (" ..." if len(left_out) > 5 else ""))
        gone = set(truth) - set(truth[readable])
        if gone:
            first = names[int(np.flatnonzero(truth == min(gone))[0])]
            raise UserError(f"{first}: cannot be decoded, nor can any other image of its class; expected some of each")
        images, truth = images[readable], truth[readable]
        names = [name for name, good in zip(names, readable, strict=True) if good]
    return Items(ImageSet(torch.from_numpy(images), mean, deviation, augmentation), torch.from_numpy(truth),
                 list(names)), left_out


def left_out_file(names):
    """{file name: text}, for Dataset.files: the images that could not be decoded, none where there are none."""
    return {"left_out.csv": "item\n" + "".join(f"{name}\n" for name in names)} if names else {}


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
