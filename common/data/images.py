"""Image sets held on the device as uint8, their batches and augmentation, and the decoding of image files."""
import contextlib
import csv
import hashlib
import math
import os
import re
import warnings
import zlib
from collections import deque
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
AHEAD = 4  # batches that are read from a map before they are asked for


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


@dataclass(frozen=True)
class Pixels:
    """uint8 (N, H, W, K), in memory or as the map of a file. A map has checksums, int64 (N,), of each image, since to read
    all of it would take longer than anything else at the start."""
    images: torch.Tensor
    checksums: torch.Tensor | None = None

    @property
    def mapped(self):
        return self.checksums is not None


class ImageSet:
    """N images, decoded once and kept as uint8, in the device's memory or as the map of a file; normalised on the device, a
    batch at a time."""

    def __init__(self, pixels, mean, deviation, augmentation=None, rows=None, device=None):
        """pixels: Pixels, or uint8 (N, H, W, K), with one channel for K equal ones; mean, deviation: K numbers each, of
        pixels between 0 and 1; rows: int64 (N,), which of the pixels are the set's, all for None."""
        self.pixels = pixels if isinstance(pixels, Pixels) else Pixels(pixels)
        self.mean, self.deviation, self.augmentation, self.rows = mean, deviation, augmentation, rows
        self.device = device or self.pixels.images.device
        self.scale = 1 / (255 * torch.tensor(deviation, device=self.device))
        self.shift = -torch.tensor(mean, device=self.device) / torch.tensor(deviation, device=self.device)

    def __len__(self):
        return len(self.pixels.images if self.rows is None else self.rows)

    def _with(self, pixels, rows=None, device=None):
        return ImageSet(pixels, self.mean, self.deviation, self.augmentation, rows, device)

    def select(self, items):
        """The images of `items` (int64 (K,)); of a map nothing is copied."""
        if self.pixels.mapped:
            return self._with(self.pixels, self._rows(items), self.device)
        return self._with(self.pixels.images[items])

    def to(self, device, keep="auto"):
        """The set for a device. keep: device, with its pixels in the device's memory; disk, where those of a map stay in
        their file; auto: on a GPU if they take half of its free memory at the most, while on a CPU a map is as good."""
        if not self.pixels.mapped:
            return self._with(self.pixels.images.to(device))
        if keep == "auto":
            size = len(self) * self.pixels.images[0].numel() if len(self) else 0
            fits = device.type == "cuda" and size <= torch.cuda.mem_get_info(device)[0] // 2
            keep = "device" if fits else "disk"
        if keep == "disk":
            return self._with(self.pixels, self.rows, device)
        rows = slice(None) if self.rows is None else self.rows
        return self._with(self.pixels.images[rows].clone().to(device))

    def checksum(self, start=0):
        if not self.pixels.mapped:
            return zlib.crc32(self.pixels.images.numpy(), start)
        sums = self.pixels.checksums
        return zlib.crc32((sums if self.rows is None else sums[self.rows]).numpy(), start)

    def draw(self, generator):
        """The random maps of one pass over the set, float32 (N, 2, 3)."""
        return self.augmentation.draw(len(self), generator, self.device)

    def view(self, items):
        """`batch` with maps of its own, drawn from torch's global generator."""
        return self.batch(items, self.augmentation.draw(len(items), None, self.device))

    def batch(self, items, maps=None):
        """float32 (B, K, H, W), channels last: the normalised images of `items` (int64 (B,) or a slice), each
        moved by its map in `maps` (B, 2, 3)."""
        return self._normalised(self.raw(items), maps)

    def batches(self, parts, maps=None):
        """Yields `batch` for each of the parts, an iterable of int64 (B,) or slices; maps: (N, 2, 3) of all images. What is
        mapped is read ahead by a thread."""
        read = ahead(lambda items: (items, self.raw(items)), parts) if self.pixels.mapped else (
            (items, self.raw(items)) for items in parts)
        for items, raw in read:
            yield self._normalised(raw, None if maps is None else maps[items])

    def _rows(self, items):
        """int64 (B,) or a slice of the pixels, for one of the set; on the CPU, where the pixels of a map are."""
        items = items.cpu() if isinstance(items, torch.Tensor) else items
        return items if self.rows is None else self.rows[items]

    def raw(self, items):
        """uint8 (B, H, W, K) on the device."""
        if not self.pixels.mapped:
            return self.pixels.images[items]
        return self.pixels.images[self._rows(items)].to(self.device)

    def _normalised(self, raw, maps):
        pixels = raw.float()
        if maps is not None:
            pixels = pixels.permute(0, 3, 1, 2)
            grid = functional.affine_grid(maps, pixels.shape, align_corners=False)
            pixels = functional.grid_sample(pixels, grid, align_corners=False).permute(0, 2, 3, 1)
        pixels = torch.addcmul(self.shift, pixels, self.scale).permute(0, 3, 1, 2)
        return pixels.contiguous(memory_format=torch.channels_last)  # moved ones are not: one copy for all methods


def ahead(function, arguments):
    """Yields function(argument) for each argument, worked out by a thread that is AHEAD of the reader."""
    with ThreadPoolExecutor(1) as pool:
        waiting = deque()
        for argument in arguments:
            waiting.append(pool.submit(function, argument))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


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


def decode(files, size, mode="RGB", fit=_resize):
    """Decodes image files on all cores: Pixels (N, size, size, K) and bool (N,), which of them could be read.

    fit(image, size, mode) makes an opened image one of `size`. What comes out is the map of a file in cache_folder(), named
    by the list of files with their sizes and times, which is there the next time: the pixels, for each image whether it
    could be read and its checksum, and a checksum of these.
    """
    shape = len(files), size, size, len(mode)
    key = repr(([_stamp(file) for file in files], size, mode, fit.__name__)).encode()
    folder = cache_folder()
    cache = folder / f"{hashlib.sha256(key).hexdigest()[:24]}.pixels" if folder else None
    end = math.prod(shape)
    total = end + 5 * len(files) + 4

    def parts(raw):
        """(pixels, readable, checksums) of all bytes, (total,)."""
        return (raw[:end].reshape(shape), raw[end:end + len(files)].view(bool), raw[end + len(files):-4].view("<u4"))

    def fill(file):
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, total)  # a disk that is full must not be found out through the map
        file.truncate(total)
        raw = np.memmap(file, np.uint8, "r+", shape=(total,))
        decode_into(*parts(raw), files, size, mode, fit)
        raw[-4:] = np.frombuffer(zlib.crc32(raw[end:-4]).to_bytes(4, "little"), np.uint8)
        raw.flush()

    def read():
        with opened(cache) as file:
            if os.fstat(file.fileno()).st_size != total:
                raise ValueError("of another length")
            raw = np.memmap(file, np.uint8, "c")  # copy on write: what torch may take as its own
        if zlib.crc32(raw[end:-4]).to_bytes(4, "little") != raw[-4:].tobytes():
            raise ValueError("its checksum does not hold")
        images, readable, checksums = parts(raw)
        return Pixels(torch.from_numpy(images), torch.from_numpy(checksums.astype(np.int64))), np.array(readable)

    if folder:
        with contextlib.suppress(OSError, ValueError, UserError):  # not there yet, or broken: decode
            return read()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(cache, fill, "w+b")
            return read()
        except OSError as error:
            print(f"the decoded images could not be kept in {cache}: {error.strerror}")
    images, readable = decode_into(np.zeros(shape, np.uint8), np.zeros(len(files), bool), None, files, size, mode, fit)
    return Pixels(torch.from_numpy(images)), readable


def decode_into(images, readable, checksums, files, size, mode, fit):
    """Decodes files on all cores into images, uint8 (N, size, size, K), and readable, bool (N,); where it is not None also
    each image's checksum, uint32 (N,). Returns the first two."""
    def read(index):
        try:
            with open_image(files[index]) as image:
                images[index] = np.asarray(fit(image, size, mode)).reshape(size, size, -1)
            readable[index] = True
        except NotAnImage:
            readable[index] = False
        if checksums is not None:
            checksums[index] = zlib.crc32(images[index])

    with ThreadPoolExecutor() as pool, warnings.catch_warnings():  # Pillow works outside the interpreter's lock
        warnings.simplefilter("ignore")  # of what Pillow finds odd in a file
        for _ in tqdm(pool.map(read, range(len(files))), "decoding images", len(files), disable=None):
            pass
    return images, readable


def _stamp(file):
    """By what a file is known: its name, size and time; the name alone of what is not there, a dangling link for one."""
    try:
        status = os.stat(file)
        return str(file), status.st_size, status.st_mtime_ns
    except OSError:
        return str(file)


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
    pixels, readable = decode(files, size, mode)
    images = ImageSet(pixels, mean, deviation, augmentation)
    truth = np.asarray(truth, np.int64)
    left_out = [name for name, good in zip(names, readable, strict=True) if not good]
    if left_out:
        print(f"notice: {len(left_out)} images could not be decoded and are left out: "
              + printable(", ".join(left_out[:5])) + (" ..." if len(left_out) > 5 else ""))
        gone = set(truth) - set(truth[readable])
        if gone:
            first = names[int(np.flatnonzero(truth == min(gone))[0])]
            raise UserError(f"{first}: cannot be decoded, nor can any other image of its class; expected some of each")
        images, truth = images.select(torch.from_numpy(np.flatnonzero(readable))), truth[readable]
        names = [name for name, good in zip(names, readable, strict=True) if good]
    return Items(images, torch.from_numpy(truth), list(names)), left_out


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
