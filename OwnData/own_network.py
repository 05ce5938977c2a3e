"""The network of anybody's items: which one the flags choose, and the weights that it starts from."""
from dataclasses import dataclass
from functools import partial

from common.data.tensors import load_tensors
from common.names import LITE0, OWN_NETWORKS, TIMM
from common.networks.frozen import load_backbone
from common.networks.own import AUXILIARY, build, load_weights, network_names, pretrained
from common.system.errors import UserError, did_you_mean, echo
from OwnData.options import OwnOptions

SMALLEST = 64  # pixels: smaller grey images are learnt from scratch by default (from features digits lose 7 points)


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


def choose(options, summary):
    """The Choice of the flags for images of which the ImageSummary is; prints what was decided."""
    trained = options.network != OwnOptions.network or options.pretrained
    name = options.backbone
    if name == "auto":
        name = _automatic(options, trained, summary)
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


def _automatic(options, trained, summary):
    """The name that --backbone auto stands for."""
    if options.finetune:
        return LITE0
    if trained or options.weights:
        return "none"
    if summary.grey and (summary.side or 0) < SMALLEST:
        echo(f"a network is trained from scratch: the images are grey and small, {summary.side} pixels (--backbone {LITE0} "
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


def frozen_backbone(options, name, size):
    """The frozen Backbone of that name."""
    try:
        return load_backbone(name, size, None if name == LITE0 and not options.weights else _read_weights(options, name))
    except ValueError as error:
        flag = f"--weights {options.weights}" if options.weights else f"--backbone {name}"
        raise UserError(f"{flag}: {error}; expected another network, other weights, or another --size") from None


def _read_weights(options, name):
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


def network_of(options, made, classes):
    """(precision -> Classifier, its spec). made: the Inputs."""
    if made.width:
        spec = {"name": "small", "features": made.width, "classes": classes}
        return partial(build, spec), spec
    name, preprocessing = made.choice.network, made.preprocessing
    spec = {"name": name, "channels": preprocessing["channels"], "size": preprocessing["size"], "classes": classes}
    if name in AUXILIARY and (options.weights or options.pretrained or options.finetune):
        spec["transform_input"] = True  # what torchvision's own weights of these are for
    try:
        built = build(spec)
    except ValueError as error:
        raise UserError(f"--network {name}: {error}; expected another network, or another --size") from None
    start = _start(options, name, built)

    def network(precision):
        classifier = build(spec, precision)
        if start:
            load_weights(classifier.body, start)
        return classifier
    return network, spec


def _start(options, name, built):
    """The state dict that the network's body starts from, or None."""
    if options.weights and options.pretrained:
        raise UserError("--weights and --pretrained: both say what the network starts from; expected one of them")
    if options.pretrained and name in OWN_NETWORKS:
        raise UserError(f"--pretrained: there are no weights for --network {name}, which is the project's own; expected one "
                        "of torchvision's, as resnet18")
    if not (options.weights or options.pretrained or options.finetune):
        return None
    state = _read_weights(options, name)
    count, total = load_weights(built.body, state)
    if not count:
        raise UserError(f"--weights {options.weights}: not a state dict of {name}; expected one")
    echo(f"{count} of the {total} tensors of {name} start from {options.weights or 'pretrained weights'}")
    return state
