"""model.pt: what is written is read; what is broken, hostile or of an earlier version is refused in one sentence."""
import json
import resource
import sys
import time

import pytest
import safetensors.torch
import torch

from common.data.tensors import save_tensors
from common.networks.frozen import fit_backbone, load_backbone
from common.networks.own import build
from common.output import model_file
from common.output.model import Model, load_model
from common.system.errors import UserError

SPEC = {"name": "small", "features": 3, "classes": 2}


def a_model(**changes):
    """A Model of three features."""
    state = build(SPEC).state_dict()
    made = {"kind": "features", "columns": ["a", "b", "c"], "mean": torch.zeros(3), "deviation": torch.ones(3)}
    parts = {"method": "max-mig", "classes": ["no", "tensor:/x"], "network": SPEC, "preprocessing": made,
             "precision": "float32", "networks": [{"classifier": state, "heads": torch.ones(1), "weight": 1.}]}
    return Model(**(parts | changes))


def save(model, file):
    with open(file, "wb") as opened:
        model.save(opened)
    return file


def test_what_is_written_is_read(tmp_path):
    model = a_model()
    found = load_model(save(model, tmp_path / "model.pt"))
    assert (found.method, found.classes, found.network) == (model.method, model.classes, model.network)
    assert found.preprocessing["columns"] == ["a", "b", "c"]
    for name, tensor in model.networks[0]["classifier"].items():
        assert torch.equal(found.networks[0]["classifier"][name], tensor)


def texts(words):
    return {"kind": "texts", "vocabulary": words, "idf": torch.ones(2), "components": torch.ones(3, 2)}


def images(**changes):
    return {"kind": "images", "size": 16, "channels": 3, "fit": "pad", "window": None, "slice": None, "backbone": None,
            "mean": [.5] * 3, "deviation": [.2] * 3} | changes


def network(**changes):
    return a_model().networks[0] | changes


def nan():
    state = build(SPEC).state_dict()
    state["head.bias"][0] = torch.nan
    return state


@pytest.mark.parametrize("change", [
    lambda: {"networks": [network(classifier=nan())]},
    lambda: {"network": SPEC | {"features": 8_000_000}},
    lambda: {"network": SPEC | {"features": 8_000_000}, "preprocessing": {
        "kind": "features", "columns": [], "mean": torch.zeros(8_000_000), "deviation": torch.ones(8_000_000)}},
    lambda: {"network": SPEC | {"classes": 3}}, lambda: {"network": SPEC | {"features": True}},
    lambda: {"preprocessing": texts(["a", "a"])}, lambda: {"preprocessing": texts(["a", 1])},
    lambda: {"networks": [{}] * 1_000_000}, lambda: {"networks": []},
    lambda: {"networks": [network(weight=.5)]}, lambda: {"networks": [network(weight=float("nan"))]},
    lambda: {"networks": [network(weight=2.), network(weight=-1.)]},
    lambda: {"networks": [network(heads=torch.ones(2))]}, lambda: {"networks": [network(heads=torch.ones(1, 1))]},
    lambda: {"classes": [1, 2]}, lambda: {"precision": "float8"},
    lambda: {"preprocessing": images(), "network": {"name": "small", "channels": 3, "size": 10 ** 9, "classes": 2}},
    lambda: {"preprocessing": images(backbone={"name": "efficientnet-lite0", "weights": {}, "mean": torch.zeros(3),
                                               "deviation": torch.ones(3)})},
    lambda: {"preprocessing": images(deviation=[0.] * 3)}, lambda: {"preprocessing": images(window=[3, 1])},
])
def test_models_that_do_not_fit_together(tmp_path, change):
    file = save(a_model(**change()), tmp_path / "model.pt")
    clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="not a whole model; expected model.pt of a run"):
        load_model(file)
    assert time.perf_counter() - clock < 10 and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_vocabularies_that_fit(tmp_path):
    load_model(save(a_model(preprocessing=texts(["a", "b"])), tmp_path / "model.pt"))


def write(file, text, tensors):
    """A file whose checksum holds, whatever it says."""
    file.write_bytes(safetensors.torch.save(tensors, {"model": text, "crc32": model_file._checksum(text, tensors)}))
    return file


@pytest.mark.parametrize("text", ["[" * 200_000, json.dumps({"networks": ["tensor:/a"] * 1_000_000}), "{}", "",
                                  json.dumps({"a": "tensor:/b"})])
def test_files_that_say_what_they_do_not_hold(tmp_path, text):
    file = write(tmp_path / "model.pt", text, {"/a": torch.ones(3)})
    with pytest.raises(UserError, match="not a model that can be read"):
        load_model(file)


def test_a_damaged_file_is_refused(tmp_path):
    file = save(a_model(), tmp_path / "model.pt")
    whole = file.read_bytes()
    step = max(1, len(whole) // 300)
    for content in (b"", whole[:-1], whole + b"x", *(
            whole[:k] + bytes([whole[k] ^ 4]) + whole[k + 1:] for k in range(0, len(whole), step))):
        file.write_bytes(content)
        with pytest.raises(UserError, match="not a model that can be read"):
            load_model(file)


def test_models_of_earlier_versions(tmp_path):
    with open(tmp_path / "model.pt", "wb") as file:
        save_tensors({"kind": "a classifier learnt from a crowd"}, file)
    with pytest.raises(UserError, match="of an earlier version, which is no longer read; .* again with --fresh"):
        load_model(tmp_path / "model.pt")


def test_a_backbone_of_other_weights_is_in_the_file(tmp_path):
    torch.manual_seed(0)
    from common.networks.own import body_of
    state = body_of("resnet18").state_dict()
    backbone = load_backbone("resnet18", 32, state)
    fitted = fit_backbone(backbone.name, backbone.kept(), torch.randn(5, 512))
    spec = {"name": "small", "features": 512, "classes": 2}
    parts = {"network": spec, "preprocessing": images(size=32, backbone=fitted),
             "networks": [{"classifier": build(spec).state_dict(), "heads": torch.ones(1), "weight": 1.}]}
    found = load_model(save(a_model(**parts), tmp_path / "model.pt"))
    assert all(torch.equal(found.preprocessing["backbone"]["weights"][name], tensor) for name, tensor in state.items())
    fitted["weights"].pop("conv1.weight")
    with pytest.raises(UserError, match="not a whole model"):
        load_model(save(a_model(**parts), tmp_path / "model.pt"))


def test_a_network_that_is_not_installed_is_named(tmp_path, monkeypatch):
    """A model of timm's network, where timm is not installed, is whole: the message says what to install."""
    monkeypatch.setitem(sys.modules, "timm", None)
    backbone = {"name": "timm/resnet10t", "weights": {}, "mean": torch.zeros(3), "deviation": torch.ones(3)}
    file = save(a_model(preprocessing=images(backbone=backbone)), tmp_path / "model.pt")
    with pytest.raises(UserError, match="timm is not installed; expected pip install timm"):
        load_model(file)
