"""Whether a model that was read is one: its parts fit together, and are checked against the file before any is built."""
import math

import torch

from common.names import FITS, MINILM
from common.networks.own import body_of, build, width_of
from common.networks.sentences import WIDTH

SIDES = range(8, 2049)  # --size
CHANNELS = (1, 3)


def check_model(model):
    """Raises some Exception where the parts of a Model are not those of one."""
    _require(all(isinstance(name, str) for name in (model.method, *model.classes)), "names")
    _require(model.precision in ("float32", "bfloat16"), "precision")
    _check_spec(model.network, len(model.classes))
    _check_preprocessing(model.preprocessing, model.network)
    _check_finite([model.preprocessing, model.networks])
    with torch.device("meta"):  # takes no memory: a spec may say anything
        expected = {name: (tensor.shape, tensor.dtype) for name, tensor in build(model.network).state_dict().items()}
    for network in model.networks:
        _check_network(network, expected, len(model.classes))
    _require(abs(sum(network["weight"] for network in model.networks) - 1) < 1e-6, "weights")


def _require(holds, what):
    if not holds:
        raise ValueError(what)


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value):
    return isinstance(value, float | int) and math.isfinite(value)


def _check_finite(value):
    """Every number of every tensor is finite."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _check_finite(each)
    elif isinstance(value, torch.Tensor):
        _require(value.isfinite().all(), "a number that is not finite")


def _check_spec(spec, classes):
    _require(spec["classes"] == classes, "classes")
    if "features" in spec:
        _require(_is_whole(spec["features"]), "features")
    else:
        _require(isinstance(spec["name"], str) and spec["channels"] in CHANNELS and spec["size"] in SIDES, "network")


def _check_network(network, expected, classes):
    """A network's tensors are those of the spec, with a head for each annotator where there are several."""
    found, heads = network["classifier"], network["heads"]
    _require(heads.ndim == 1 and len(heads) and heads.dtype == torch.float32, "heads")
    shapes = {name: shape for name, (shape, _) in expected.items()}
    rows = len(heads) * classes
    shapes |= {"head.weight": torch.Size((rows, *shapes["head.weight"][1:])), "head.bias": torch.Size((rows,))}
    _require({name: tensor.shape for name, tensor in found.items()} == shapes, "shapes")
    _require(all(tensor.dtype == expected[name][1] for name, tensor in found.items()), "types")
    _require(_is_number(network["weight"]) and network["weight"] >= 0, "weight")


def _check_preprocessing(made, spec):
    check = {"images": _check_images, "features": _check_features, "texts": _check_texts}[made["kind"]]
    check(made, spec)


def _check_images(made, spec):
    mean, deviation, window = made["mean"], made["deviation"], made["window"]
    _require(made["size"] in SIDES and made["channels"] in CHANNELS and made["fit"] in FITS, "images")
    _require(len(mean) == len(deviation) == made["channels"] and all(map(_is_number, (*mean, *deviation))), "scale")
    _require(min(deviation) > 0, "deviation")
    _require(window is None or all(map(_is_number, window)) and len(window) == 2 and window[0] < window[1], "window")
    _require(made["slice"] is None or made["slice"] == 0 or _is_whole(made["slice"]), "slice")
    if not made["backbone"]:
        _require((made["channels"], made["size"]) == (spec["channels"], spec["size"]), "size")
        return
    backbone = made["backbone"]
    _require(made["channels"] == 3, "channels")
    _check_moments(backbone, spec)
    with torch.device("meta"):
        body = body_of(backbone["name"], transform_input=True)
        expected = {name: tensor.shape for name, tensor in body.state_dict().items()}
        _require(width_of(body, 3, made["size"]) == spec["features"], "backbone")
    _require(not backbone["weights"] or {name: tensor.shape for name, tensor in backbone["weights"].items()} == expected,
             "backbone's weights")


def _check_moments(made, spec):
    _require(made["mean"].shape == made["deviation"].shape == (spec["features"],), "features")
    _require((made["deviation"] > 0).all(), "deviation")


def _check_features(made, spec):
    _check_moments(made, spec)
    _require(all(isinstance(name, str) for name in made["columns"]), "columns")
    _require(len(made["columns"]) in (0, spec["features"]), "columns")


def _check_texts(made, spec):
    backbone = made.get("backbone")  # models before the sentence encoder have none
    if backbone:
        _require((backbone["name"], backbone["weights"], spec["features"]) == (MINILM, {}, WIDTH), "backbone")
        _check_moments(backbone, spec)
        return
    words = made["vocabulary"]
    _require(all(isinstance(word, str) for word in words) and len(set(words)) == len(words), "vocabulary")
    _require(made["idf"].shape == (len(words),) and made["components"].shape == (spec["features"], len(words)), "texts")
