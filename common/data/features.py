"""Features computed beforehand, instead of images: the same interface as ImageSet."""
import zlib

import numpy as np
import torch


class FeatureSet:
    """N rows of features, float32 (N, F) on the device. There is nothing to augment. pictures: the ImageSet that they are
    features of, in the CPU's memory or a file, or None."""
    augmentation = None

    def __init__(self, features, pictures=None):
        self.features, self.pictures = features, pictures

    def __len__(self):
        return len(self.features)

    def select(self, items):
        pictures = None if self.pictures is None else self.pictures.select(items.cpu())
        return FeatureSet(self.features[items], pictures)

    def to(self, device, keep=None):
        return FeatureSet(self.features.to(device), self.pictures)

    def checksum(self, start=0):
        """That of the pictures, where there are any: their features differ in the last digits by machine."""
        if self.pictures is not None:
            return self.pictures.checksum(start)
        return zlib.crc32(self.features.contiguous().numpy(), start)

    def batch(self, items, maps=None):
        """float32 (B, F): the features of `items` (int64 (B,) or a slice)."""
        return self.features[items]

    view = batch

    def batches(self, parts, maps=None):
        """Yields `batch` for each of the parts."""
        return map(self.batch, parts)


def flat(array):
    """float32 (N, F) of an array with any shape after the first axis; infinite beyond what float32 holds."""
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).flatten(1)
