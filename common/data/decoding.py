"""From image files to image sets: decoded once, on all cores, into a file that is mapped from then on."""
import contextlib
import csv
import io
import math
import os
import re
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from common.data.cache import cache_file, keep
from common.data.dataset import Items
from common.data.images import ImageSet, Pixels
from common.data.opening import opened, read_text
from common.data.scans import Volume, is_scan, open_scan, plane_number
from common.system.errors import UserError, echo, first_few

DECODED = 1e9  # bytes of images that are decoded at the same time, in all threads
COPIES = 2  # of an image of four bytes a pixel, while it is decoded, turned and converted


def is_wide(image):
    """Whether an opened image has more than 8 bits a pixel."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def has_wide_colours(image):
    """Whether an opened image has colours of 16 bits, of which Pillow reads the upper 8."""
    return image.mode in ("RGB", "RGBA") and any(";16" in str(part[3]) for part in getattr(image, "tile", ()))


def eight_bits(image, window=None):
    """An opened image; one of more than 8 bits a pixel scaled to 8: the range `window` (low, high), or by default its own
    range, of 16 bits or more. Pixels that are not finite are the least (NaN too) or the greatest of the others."""
    if not is_wide(image):
        return image
    values = np.array(image, np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        others = values[finite]
        least, greatest = (others.min(), others.max()) if len(others) else (0, 0)
        np.nan_to_num(values, copy=False, nan=least, neginf=least, posinf=greatest)
    low, high = window or (0, 255 if values.max() <= 255 else max(65535, values.max()))
    values -= low
    values *= 255 / (high - low)
    return Image.fromarray(values.clip(0, 255, out=values).astype(np.uint8))


def resize(image, size, mode):
    """An opened image in `mode`, resized (bilinear) if it is of another size."""
    image = eight_bits(image).convert(mode)
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)


def decode(files, size, mode="RGB", fit=resize, cache=None):
    """Decodes image files on all cores: Pixels (N, size, size, K) and bool (N,), which of them could be read.

    fit(image, size, mode) makes an opened image one of `size`; fit.open(file), where there is one, opens it. What comes
    out is the map of a file in cache_folder(cache), named by the list of files with their sizes and times, which is there
    the next time: the pixels, for each image whether it could be read and its checksum, and a checksum of these.
    """
    shape = len(files), size, size, len(mode)
    key = [_stamp(file) for file in files], size, mode, getattr(fit, "__name__", fit)
    cache = cache_file(cache, key, "pixels")
    end = math.prod(shape)
    total = end + 5 * len(files) + 4

    def parts(raw):
        """(pixels, readable, checksums) of all bytes, (total,)."""
        return (raw[:end].reshape(shape), raw[end:end + len(files)].view(bool), raw[end + len(files):-4].view("<u4"))

    def pixels(images, checksums, mapped):
        return Pixels(torch.from_numpy(images), torch.from_numpy(checksums.astype(np.int64)), mapped)

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
        return pixels(images, checksums, mapped=True), np.array(readable)

    if cache:
        with contextlib.suppress(OSError, ValueError, UserError):  # not there yet, or broken: decode
            return read()
        if keep(cache, fill, "w+b", "decoded images"):
            return read()
    checksums = np.zeros(len(files), np.uint32)
    images, readable = decode_into(np.zeros(shape, np.uint8), np.zeros(len(files), bool), checksums, files, size, mode, fit)
    return pixels(images, checksums, mapped=False), readable


class Budget:
    """Bytes that threads share: `of` waits until so many are free. More than there are wait until all are."""

    def __init__(self, total):
        self.total = self.free = total
        self.changed = threading.Condition()

    @contextlib.contextmanager
    def of(self, count):
        count = min(count, self.total)
        with self.changed:
            self.changed.wait_for(lambda: self.free >= count)
            self.free -= count
        try:
            yield
        finally:
            with self.changed:
                self.free += count
                self.changed.notify_all()


def decoded_bytes(image, size, mode):
    """About how many bytes an opened image and its copies take while it is made `size` pixels wide. A JPEG is decoded no
    larger than it is needed."""
    image.draft(mode, (size, size))
    return COPIES * image.width * image.height * 4


def decode_into(images, readable, checksums, files, size, mode, fit):
    """Decodes files on all cores into images, uint8 (N, size, size, K), and readable, bool (N,); where it is not None also
    each image's checksum, uint32 (N,). Returns the first two."""
    open_file = getattr(fit, "open", open_image)

    def read(index):
        try:
            with open_file(files[index]) as image, budget.of(decoded_bytes(image, size, mode)):
                images[index] = np.asarray(fit(image, size, mode)).reshape(size, size, -1)
                image.close()  # while its bytes still count
            readable[index] = True
        except (NotAnImage, Volume):
            readable[index] = False
        if checksums is not None:
            checksums[index] = zlib.crc32(images[index])

    budget = Budget(DECODED)
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
def open_image(file, plane=None):
    """An opened image, in a `with`; raises NotAnImage if it cannot be opened or read, then or inside the `with`. plane:
    which slice of a volume, or page of an image, from 0; raises Volume where it is missing."""
    try:
        if is_scan(file):
            with open_scan(file, plane) as image:
                yield image
            return
        with opened(file) as content, Image.open(content) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:  # Pillow itself refuses twice as many
                raise NotAnImage(f"{image.width} x {image.height} pixels")
            if plane is not None and getattr(image, "n_frames", 1) > 1:
                image.seek(plane_number(file, image.n_frames, plane, "pages"))
            yield image
    except Volume:
        raise
    except Exception as error:  # a broken file can make Pillow raise nearly anything
        raise NotAnImage(str(error)) from None


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
