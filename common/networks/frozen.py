"""Features of images and texts from a frozen pretrained backbone: computed once, kept in the cache, standardised."""
import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from common.data.cache import cached
from common.data.features import FeatureSet
from common.data.preprocessing import apply, as_trained
from common.names import LITE0
from common.networks.own import body_of, load_weights, pretrained, width_of
from common.networks.sentences import sentence_features

BATCH = 16  # images at once, always: an image's features do not depend on the images beside it


@dataclass(frozen=True)
class Backbone:
    """A frozen network. width: the number of its features for images of `size` pixels; installed: whether its weights are
    those that are installed with the project."""
    name: str
    body: nn.Module
    size: int
    width: int
    installed: bool

    def checksum(self):
        """That of its weights."""
        found = 0
        for name, tensor in self.body.state_dict().items():
            found = zlib.crc32(tensor.contiguous().numpy(), zlib.crc32(name.encode(), found))
        return found

    def kept(self):
        """The weights that a model's file must keep: none where they are installed."""
        return {} if self.installed else {name: tensor.clone() for name, tensor in self.body.state_dict().items()}


def load_backbone(name, size, state=None):
    """The Backbone with the weights of a state dict, or with its own pretrained ones. Raises ValueError where it cannot take
    images of that size, or the state dict is another network's."""
    body = body_of(name, transform_input=True)
    count, total = load_weights(body, state or pretrained(name))
    if count < total:
        raise ValueError(f"{count} of the {total} tensors of {name} are in the weights")
    body.eval().requires_grad_(False)
    return Backbone(name, body.to(memory_format=torch.channels_last), size, width_of(body, 3, size),
                    installed=name == LITE0 and not state)


def features_of(images, backbone, device, cache=None):
    """float32 (N, F): the features of an ImageSet. cache: --cache."""
    sums = images.pixels.checksums if images.rows is None else images.pixels.checksums[images.rows]
    key = (hashlib.sha256(sums.numpy().tobytes()).hexdigest(), images.pixels.images.shape[1:], images.mean, images.deviation,
           backbone.name, backbone.checksum())
    return torch.from_numpy(cached(cache, key, (len(images), backbone.width), lambda: _compute(images, backbone, device),
                                   "features"))


@torch.no_grad()
def _compute(images, backbone, device):
    """float32 array (N, F). The last batch is filled up with its last image."""
    count, body = len(images), backbone.body.to(device)
    images, found = images.to(device, "disk"), torch.empty(count, backbone.width)
    for start in tqdm(range(0, count, BATCH), f"features of {backbone.name}", disable=None):
        items = torch.arange(start, start + BATCH).clamp_(max=count - 1)
        found[start:start + BATCH] = body(images.batch(items))[:count - start].float().cpu()
    return found.numpy()


def fit_backbone(name, weights, features):
    """A preprocessing's "backbone": its name, the weights to keep, mean and deviation of the training items' features."""
    deviation, mean = torch.std_mean(features.double(), 0, correction=0)
    deviation = torch.where(deviation > 1e-6, deviation, 1.)
    return {"name": name, "weights": weights, "mean": mean.float(), "deviation": deviation.float()}


def standardised(features, fitted, images=None):
    """The FeatureSet of features that fit_backbone was given, or of others. images: the ImageSet that they are of."""
    return FeatureSet((features - fitted["mean"]) / fitted["deviation"], images)


def inputs_of(source, preprocessing, device, cache=None):
    """(inputs, readable) of preprocessing.apply, with images and texts turned into features where the preprocessing has a
    backbone."""
    fitted = preprocessing.get("backbone")
    if fitted and preprocessing["kind"] == "texts":
        texts = as_trained(source, preprocessing).raw
        return standardised(sentence_features(texts, device, cache), fitted), np.ones(len(texts), bool)
    images, readable = apply(source, preprocessing, cache)
    if not fitted:
        return images, readable
    backbone = load_backbone(fitted["name"], preprocessing["size"], fitted["weights"])
    return standardised(features_of(images, backbone, device, cache), fitted, images), readable
