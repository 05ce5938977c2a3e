"""Image sets held on the device as uint8, their batches and augmentation, and the decoding of image files."""
import csv
import hashlib
import math
import os
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
from common.errors import UserError
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
        maps = torch.stack([cos * mirror, -sin, zero, sin * mirror, cos, zero], 1).view(-1, 2, 3)
        return maps.to(device, non_blocking=True)  # nobody waits for the device


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
        pixels = torch.addcmul(self.shift, pixels, self.scale).permute(0, 3, 1, 2)
        return pixels.contiguous(memory_format=torch.channels_last)  # moved ones are not: one copy for all methods


def cache_folder():
    """Where decoded image sets are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "learning-from-crowds"


def _resize(image, size, mode):
    """An opened image in `mode`, resized (bilinear) if it is of another size."""
    image = image.convert(mode)
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)


def decode(files, size, mode="RGB", fit=_resize, keep=True):
    """Decodes image files on all cores: uint8 (N, size, size, K) and bool (N,), which of them could be read.

    fit(image, size, mode) makes an opened image one of `size`. The result is kept in one file of cache_folder(), named by
    the list of files with their sizes and times, and read back from there the next time, unless not `keep`.
    """
    stats = [(str(file), status.st_size, status.st_mtime_ns) for file in files for status in [os.stat(file)]]
    cache = cache_folder() / f"{hashlib.sha256(repr((stats, size, mode, fit.__name__)).encode()).hexdigest()[:24]}.npz"
    try:
        with np.load(cache) as saved:
            return saved["images"], saved["readable"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there yet, or broken: decode

    images = np.zeros((len(files), size, size, len(mode)), np.uint8)

    def read(index):
        try:
            with Image.open(files[index]) as image:
                images[index] = np.asarray(fit(image, size, mode)).reshape(size, size, -1)
            return True
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for bad files
            return False

    with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes outside the interpreter's lock
        readable = np.fromiter(tqdm(pool.map(read, range(len(files))), "decoding images", len(files), disable=None), bool)
    if not keep:
        return images, readable
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        replace_file(cache, lambda file: np.savez(file, images=images, readable=readable))
    except OSError as error:
        print(f"the decoded images could not be kept in {cache}: {error.strerror}")
    return images, readable


def read_items(files, names, truth, size, mode, mean, deviation, augmentation):
    """(Items, left_out): the images of these files, and the names of those that cannot be decoded, also on the screen."""
    images, readable = decode(files, size, mode)
    left_out = [name for name, good in zip(names, readable, strict=True) if not good]
    if left_out:
        print(f"notice: {len(left_out)} images could not be decoded and are left out: {', '.join(left_out[:5])}"
              + (" ..." if len(left_out) > 5 else ""))
        images, truth = images[readable], np.asarray(truth)[readable]
        names = [name for name, good in zip(names, readable, strict=True) if good]
    images = ImageSet(torch.from_numpy(images), mean, deviation, augmentation)
    return Items(images, torch.from_numpy(np.asarray(truth, np.int64)), list(names)), left_out


def left_out_file(names):
    """{file name: text}, for Dataset.files: the images that could not be decoded, none where there are none."""
    return {"left_out.csv": "item\n" + "".join(f"{name}\n" for name in names)} if names else {}


def read_list(file, folder, classes):
    """(names, truth) of a list of images with rows `name,class`, names relative to `folder`, with or without a slash
    in front. Raises UserError for a row that is not of that form, or names a file that is not there."""
    names, truth = [], []
    try:
        with open(file, newline="") as rows:
            for number, row in enumerate(csv.reader(rows), 1):
                if len(row) != 2 or not row[1].strip().isdigit() or not int(row[1]) < classes:
                    raise UserError(f"{file}, line {number}: {','.join(row)[:80]!r}; expected a file's name and its class, "
                                    f"from 0 to {classes - 1}")
                names.append(row[0].strip().lstrip("/"))
                truth.append(int(row[1]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{file}: names {missing[0]}, which is not in {folder}"
                        + (f", and {len(missing) - 1} more that are not" if len(missing) > 1 else ""))
    if sorted(set(truth)) != list(range(classes)):
        raise UserError(f"{file}: expected images of all {classes} classes in it")
    return names, truth
