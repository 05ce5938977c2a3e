"""Image sets held as uint8, in the device's memory or as the map of a file; their batches and augmentation."""
import math
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch.nn import functional

IMAGENET = (.485, .456, .406), (.229, .224, .225)  # mean and deviation
AHEAD = 4  # batches that are read from a map before they are asked for


@dataclass(frozen=True)
class Augmentation:
    """flip: mirror each image with probability 1/2; rotation: turn it by up to so many degrees, either way."""
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
    """uint8 (N, H, W, K), in memory or `mapped`, the map of a file. What was decoded has checksums, int64 (N,), of each
    image, since to read all of a map would take longer than anything else at the start."""
    images: torch.Tensor
    checksums: torch.Tensor | None = None
    mapped: bool = False


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
        sums = self.pixels.checksums
        return self._with(Pixels(self.pixels.images[items], None if sums is None else sums[items]))

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
        if self.rows is None:
            return self._with(self.pixels.images.to(device, copy=True))
        return self._with(self.pixels.images[self.rows].to(device))

    def checksum(self, start=0):
        """That of the images' own, where they have any: the same in memory and as a map."""
        sums = self.pixels.checksums
        if sums is None:
            return zlib.crc32(self.pixels.images.numpy(), start)
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
