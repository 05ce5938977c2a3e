"""Image sets held on the device as uint8, their batches and augmentation, and the decoding of image files."""
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

from common.runfolder import replace_file


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
        """images: uint8 (N, H, W, K); mean, deviation: K numbers each, of pixels between 0 and 1."""
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
        """The random maps of one pass over the set, one for each image: what `batch` takes as `maps`."""
        return self.augmentation.draw(len(self), generator, self.images.device)

    def batch(self, items, maps=None):
        """float32 (B, K, H, W), channels last: the normalised images of `items` (int64 (B,) or a slice), each
        turned by its map in `maps`."""
        pixels = self.images[items].float()
        if maps is not None:
            pixels = pixels.permute(0, 3, 1, 2)
            grid = functional.affine_grid(maps[items], pixels.shape, align_corners=False)
            pixels = functional.grid_sample(pixels, grid, align_corners=False).permute(0, 2, 3, 1)
        return pixels.mul_(self.scale).add_(self.shift).permute(0, 3, 1, 2)


def cache_folder():
    """Where decoded image sets are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "learning-from-crowds"


def decode(files, size, mode="RGB"):
    """Decodes image files on all cores: uint8 (N, size, size, K) and bool (N,), which of them could be read.

    Images of another size are resized (bilinear). The result is kept in one file of cache_folder(), named by the
    list of files with their sizes and times, and read back from there the next time.
    """
    stats = [(str(file), status.st_size, status.st_mtime_ns) for file in files for status in [os.stat(file)]]
    cache = cache_folder() / f"{hashlib.sha256(repr((stats, size, mode)).encode()).hexdigest()[:24]}.npz"
    try:
        with np.load(cache) as saved:
            return saved["images"], saved["readable"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there yet, or broken: decode

    images = np.zeros((len(files), size, size, len(mode)), np.uint8)

    def read(index):
        try:
            with Image.open(files[index]) as image:
                image = image.convert(mode)
                if image.size != (size, size):
                    image = image.resize((size, size), Image.Resampling.BILINEAR)
                images[index] = np.asarray(image).reshape(size, size, -1)
            return True
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for bad files
            return False

    with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes outside the interpreter's lock
        readable = np.fromiter(tqdm(pool.map(read, range(len(files))), "decoding images", len(files)), bool)
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        replace_file(cache, lambda file: np.savez(file, images=images, readable=readable))
    except OSError as error:
        print(f"the decoded images could not be kept in {cache}: {error.strerror}")
    return images, readable
