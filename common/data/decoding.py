"""From image files to image sets: decoded once, on all cores, into a file that is mapped from then on."""
import contextlib
import math
import os
import re
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from common.data.cache import cache_file, keep
from common.data.images import Pixels
from common.data.opening import MB, opened, read_bytes
from common.data.scans import Volume, is_scan, open_scan, plane_number
from common.system.errors import UserError

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
    """Bytes that threads share: `of` waits until so many are free. A request for more than the total waits until all are."""

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
    """By what a file is known: its name, size and time, and those of the data file that a MetaImage's header names; the name
    alone of what is not there, a dangling link for one."""
    try:
        status = os.stat(file)
        stamp = str(file), status.st_size, status.st_mtime_ns
        data = re.search(rb"ElementDataFile\s*=\s*(\S+)", read_bytes(file, MB)) if str(file).endswith(".mhd") else None
    except (OSError, UserError):
        return str(file)
    return (*stamp, _stamp(Path(file).parent / os.fsdecode(data[1]))) if data else stamp


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
            if plane is not None and image.format == "TIFF" and image.n_frames > 1:
                image.seek(plane_number(file, image.n_frames, plane, "pages"))
            yield image
    except Volume:
        raise
    except Exception as error:  # a broken file can make Pillow raise nearly anything
        raise NotAnImage(str(error)) from None
