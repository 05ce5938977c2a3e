"""Items of one's own: images, features, texts; what turns them into inputs, and what is wrong with them."""
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image

from common.data.images import IMAGENET
from common.data.item_names import AMBIGUOUS
from common.data.preprocessing import apply, fit, moments
from common.data.sources import read_source
from common.names import FITS
from common.networks.own import build, load_weights, network_names
from common.system.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Files of many kinds, each the same picture: dark left, bright right, 30 x 20 pixels."""
    root = tmp_path / "images"
    (root / "more").mkdir(parents=True)
    pixels = np.tile(np.repeat(np.uint8([50, 200]), 15), (20, 1))
    grey, color = Image.fromarray(pixels), Image.fromarray(np.stack([pixels] * 3, 2))
    color.save(root / "rgb.png")
    grey.save(root / "grey.png")
    color.convert("P", palette=Image.Palette.ADAPTIVE).save(root / "palette.png")
    color.save(root / "photo.JPG", quality=95)
    color.convert("CMYK").save(root / "print.jpg", quality=95)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(root / "deep.png")
    Image.fromarray(pixels > 100).save(root / "bits.png")
    clear = np.dstack([np.zeros((20, 30, 3), np.uint8), np.full((20, 30), 255, np.uint8)])
    clear[:, 15:, 3] = 0  # black on the left, on the right nothing: white shows
    Image.fromarray(clear).save(root / "more" / "clear.png")
    turned = color.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(root / "turned.jpg", exif=exif, quality=95)
    (root / "notes.txt").write_text("no image")
    (root / "notes.pdf").write_text("no image either, though Pillow writes such")
    (root / ".hidden.png").write_bytes(b"")
    (root / ".trash").mkdir()
    grey.save(root / ".trash" / "gone.png")
    (root / "runs" / "own-seed0").mkdir(parents=True)  # what a run has left is nobody's item
    for run in (root, root / "runs" / "own-seed0"):
        grey.save(run / "curves.png")
        for name in ("config.json", "summary.json"):
            (run / name).write_text("{}")
    return root


def everything(source):
    return np.arange(len(source))


@pytest.mark.parametrize("how", FITS)
def test_images_of_any_mode(folder, how):
    source = read_source(images=str(folder))
    assert source.names == sorted(["rgb.png", "grey.png", "palette.png", "photo.JPG", "print.jpg", "deep.png", "bits.png",
                                   "more/clear.png", "turned.jpg"])
    preprocessing = fit(source, everything(source), fitting=how)
    assert preprocessing["size"] == 20 and preprocessing["channels"] == 3
    inputs, readable = apply(source, preprocessing)
    assert readable.all() and inputs.raw(slice(None)).shape == (9, 20, 20, 3)
    for name, image in zip(source.names, inputs.raw(slice(None)).float(), strict=True):
        # the range of values in deep.png, the one of 16 bits, becomes 0 to 255
        dark, bright = (0, 255) if name in ("bits.png", "more/clear.png", "deep.png") else (50, 200)
        middle = image[8:12].mean((0, 2))
        assert abs(middle[4] - dark) < 12 and abs(middle[-5] - bright) < 12, name
        assert (image[0].max() < 30) == (how == "pad"), name


def test_grey_images_stay_grey(folder):
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in ("grey.png", "deep.png", "bits.png"):
            path.unlink()
    source = read_source(images=str(folder))
    preprocessing = fit(source, everything(source), size=16)
    inputs, _ = apply(source, preprocessing)
    assert preprocessing["channels"] == 1 and inputs.batch(slice(0, 3)).shape == (3, 1, 16, 16)
    assert fit(source, everything(source), color=True, scale=IMAGENET)["mean"] == [.485, .456, .406]
    pixels = inputs.batch(slice(0, 3))
    assert pixels.mean().abs() < 1e-3 and abs(pixels.std() - 1) < 1e-2


def test_broken_images_are_told(folder):
    (folder / "broken.png").write_bytes((folder / "rgb.png").read_bytes()[:60])
    source = read_source(images=str(folder))
    _, readable = apply(source, fit(source, everything(source)))
    assert [source.names[i] for i in np.flatnonzero(~readable)] == ["broken.png"]


def test_names_of_files(folder):
    source = read_source(images=str(folder))
    names = ["rgb.png", "rgb", "clear.png", "more/clear.png", "clear", "nothing", "notes.txt"]
    assert [source.names[i] if i >= 0 else None for i in source.find(names)] == [
        "rgb.png", "rgb.png", "more/clear.png", "more/clear.png", "more/clear.png", None, None]
    (folder / "cat-17.png").write_bytes((folder / "rgb.png").read_bytes())
    source = read_source(images=str(folder))
    assert source.names[source.find(["17"])[0]] == "cat-17.png"


def test_what_is_called_as_the_answers_call_it(folder):
    source = read_source(images=str(folder))
    others = [name for name in source.names if name not in ("rgb.png", "more/clear.png")]
    for ours, theirs in ((["rgb", "clear"], [PurePosixPath(name).stem for name in others]),
                         (["rgb.png", "clear.png"], [PurePosixPath(name).name for name in others]),
                         (["rgb", "clear.png"], others)):  # in two ways: the others keep their own names
        called = source.call(source.find(ours), ours)
        assert [called.names[source.names.index(name)] for name in others] == theirs
        assert [called.names[source.names.index(name)] for name in ("rgb.png", "more/clear.png")] == ours
    (folder / "more" / "rgb.jpg").write_bytes((folder / "rgb.png").read_bytes())
    assert read_source(images=str(folder)).find(["rgb", "rgb.jpg"])[0] == AMBIGUOUS


def test_features_in_another_order(tmp_path):
    for name, content in (("a", "task,u,v,w\ni,1,2,3\nj,4,1,2\n"), ("b", "w,task,v,u\n3,i,2,1\n2,j,1,4\n"),
                          ("c", "task,u,x,w\ni,1,2,3\n")):
        (tmp_path / name).write_text(content)
    source = read_source(features=str(tmp_path / "a"))
    preprocessing = fit(source, np.arange(2))
    inputs, _ = apply(source, preprocessing)
    again, _ = apply(read_source(features=str(tmp_path / "b")), preprocessing)
    assert torch.equal(again.features, inputs.features)
    with pytest.raises(UserError, match="there is a feature 'x', and no 'v', which the model was trained on"):
        apply(read_source(features=str(tmp_path / "c")), preprocessing)


@pytest.mark.parametrize("table", [",task,a,b\n0,x,1,2\n1,y,3,5\n", "Unnamed: 0,task,a,b\n0,x,1,2\n1,y,3,5\n",
                                   "task,a,b,\nx,1,2,\ny,3,5,\n"])
def test_what_programs_add_is_no_feature(tmp_path, table):
    (tmp_path / "x.csv").write_text(table)
    source = read_source(features=str(tmp_path / "x.csv"))
    assert source.names == ["x", "y"] and source.columns == ["a", "b"] and source.raw.tolist() == [[1, 2], [3, 5]]


def test_features_are_standardised_once(tmp_path):
    random = np.random.default_rng(0)
    values = random.normal(size=(50, 3)) * [1, 1000, 1e-4] + [0, 5, 1e3]
    table = tmp_path / "features.csv"
    table.write_text("task,a,b,c\n" + "".join(f"i{k},{','.join(map(repr, row))}\n" for k, row in enumerate(values.tolist())))
    np.save(tmp_path / "features.npy", values)
    (tmp_path / "names.txt").write_text("task\n" + "".join(f"i{k}\n" for k in range(50)))
    source = read_source(features=str(table))
    same = read_source(features=str(tmp_path / "features.npy"), items=str(tmp_path / "names.txt"))
    assert source.names == same.names and np.array_equal(source.raw, same.raw)
    preprocessing = fit(source, np.arange(40))
    inputs, _ = apply(source, preprocessing)
    assert np.allclose(inputs.features[:40].mean(0), 0, atol=1e-4) and np.allclose(inputs.features[:40].std(0), 1, atol=.02)
    again, _ = apply(replace(same, names=same.names[49:], raw=same.raw[49:]), preprocessing)
    assert torch.equal(again.features, inputs.features[49:])
    assert read_source(features=str(tmp_path / "features.npy")).names[-1] == "49"


@pytest.mark.parametrize("content, message", [
    ("task,a,b\nx,1,2\ny,nan,2\n", "feature a of item 'y' is nan, 1 such in all, in a; expected .* impute them"),
    ("a,b\n11.82,2\n11.82,2\n", "'11.82' more than once in its first column, 'a'; .* is there a column of the items' names"),
    ("task;a;b\nx;1;2\ny;3,5;4\n", "'3,5' in column 'a'; expected a number, with a point for the decimals, not a comma"),
    ("task,a,b\nx,1,2\ny,,2\n", "feature a of item 'y' is nan"),
    ("task,a,b\nx,1,2\ny,3,inf\n", "feature b of item 'y' is inf"),
    ("task,a,b\nx,1,2\ny,3,four\n", "line 3: 'four' in column 'b'; expected a number"),
    ("task,a,b\n\nx,1,2\n\ny,3,four\n", "line 5: 'four' in column 'b'; expected a number"),
    ("task,a,b\nx,1,2\nx,3,4\n", "'x' more than once"),
    ("task\nx\n", "1 rows of 0 features"),
    ("task,a\nx,1\ny,1\n", "every feature is constant"),
    ("task,a\nx,1,2\n", "line 2: more cells"),
])
def test_bad_features(tmp_path, content, message):
    (tmp_path / "f.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        source = read_source(features=str(tmp_path / "f.csv"))
        fit(source, everything(source))


def test_features_that_the_model_does_not_know(tmp_path, capsys):
    def source(text):
        (tmp_path / "f.csv").write_text(text)
        return read_source(features=str(tmp_path / "f.csv"))
    known = source("task,a,b\nx,1,2\ny,3,2\n")
    preprocessing = fit(known, np.arange(2))
    assert "1 features are constant, b the first of them" in capsys.readouterr().out
    with pytest.raises(UserError, match="3 features; expected 2"):
        apply(source("task,a,b,c\nx,1,2,3\n"), preprocessing)


def test_other_bad_items(tmp_path):
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.save(tmp_path / "two.npy", np.zeros((2, 3)))
    (tmp_path / "half.npy").write_bytes((tmp_path / "two.npy").read_bytes()[:40])
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("task,when,where\na,b,c\n")
    for how, message in ((dict(), "no items"), (dict(images="x", texts="y"), "--images and --texts: expected one"),
                         (dict(images=tmp_path / "nothing"), "no such folder"),
                         (dict(images=tmp_path / "t.csv"), "not a folder"),
                         (dict(images=tmp_path / "empty"), "no image files"),
                         (dict(texts=tmp_path / "t.csv"), "task and text"),
                         (dict(features=tmp_path / "words.npy"), "expected an array of numbers"),
                         (dict(features=tmp_path / "half.npy"), "not a whole .npy"),
                         (dict(features=tmp_path / "no.npy"), "no such file"),
                         (dict(features=tmp_path / "two.npy", items=tmp_path / "three.txt"), "3 names; .* the 2 rows"),
                         (dict(texts=tmp_path / "t.csv", items=tmp_path / "three.txt"), "--items .*: names the rows")):
        with pytest.raises(UserError, match=message):
            read_source(**{name: str(value) for name, value in how.items()})


@pytest.mark.parametrize("header", ["id,question", "question,passage", "filename,note,question", "question,text", "text,nr",
                                    "document,content"])
def test_a_question_may_be_a_text_or_a_name(tmp_path, header):
    row = dict.fromkeys(("content", "passage", "text"), "it is red")
    row |= dict.fromkeys(("document", "id", "nr", "filename"), "1")
    row |= {"note": "n", "question": "is it red" if header in ("id,question", "filename,note,question") else "1"}
    (tmp_path / "texts.csv").write_text(f"{header}\n{','.join(row[name] for name in header.split(','))}\n")
    source = read_source(texts=str(tmp_path / "texts.csv"))
    assert source.names == ["1"] and source.raw in (["is it red"], ["it is red"])


def test_texts(tmp_path):
    rows = [f'{k},"{"good, fine film" if k % 2 else "bad; dull film"} {k % 5}"' for k in range(30)]
    (tmp_path / "t.tsv").write_text("id,review\n" + "\n".join(rows) + "\n")
    source = read_source(texts=str(tmp_path / "t.tsv"))
    preprocessing = fit(source, np.arange(20))
    inputs, _ = apply(source, preprocessing)
    one, _ = apply(replace(source, names=source.names[7:8], raw=source.raw[7:8]), preprocessing)
    assert torch.allclose(one.features, inputs.features[7:8], atol=1e-6)
    assert np.allclose((inputs.features ** 2).mean(1), 1, atol=1e-4)
    likeness = inputs.features @ inputs.features.T
    assert likeness[1, 3] > likeness[1, 2]
    (tmp_path / "t.tsv").write_text("id\ttext\na\t...\nb\t!\n")
    with pytest.raises(UserError, match="the texts hold no words"):
        fit(read_source(texts=str(tmp_path / "t.tsv")), np.arange(2))


@pytest.mark.parametrize("name, channels, size", [("small", 1, 8), ("small", 3, 33), ("small", 3, 96), ("four-conv", 3, 64),
                                                  ("four-conv", 1, 50), ("vgg16", 3, 32), ("vgg16", 1, 40),
                                                  ("resnet18", 3, 32), ("squeezenet1_0", 3, 64),
                                                  ("mobilenet_v3_small", 3, 32)])
def test_networks(name, channels, size):
    spec = {"name": name, "channels": channels, "size": size, "classes": 4}
    assert name in network_names()
    classifier = build(spec).eval()
    with torch.no_grad():
        assert classifier(torch.zeros(2, channels, size, size)).shape == (2, 4)
    assert classifier.head.in_features > 4


@pytest.mark.parametrize("name, size", [("googlenet", 32), ("inception_v3", 96)])
def test_networks_with_further_outputs_in_training(name, size):
    classifier = build({"name": name, "channels": 3, "size": size, "classes": 4})
    assert classifier.training and classifier(torch.rand(2, 3, size, size)).shape == (2, 4)


def test_inputs_are_scaled_for_torchvision_s_own_weights():
    spec = {"name": "googlenet", "channels": 3, "size": 32, "classes": 2}
    assert not build(spec).body.transform_input and build(spec | {"transform_input": True}).body.transform_input


def test_networks_that_cannot():
    with pytest.raises(ValueError, match="cannot take images of 8 x 8 pixels"):
        build({"name": "four-conv", "channels": 3, "size": 8, "classes": 2})


def test_moments_are_exact_for_many_pixels():
    """Added up in float32 a row after the other, as NumPy does, they are not."""
    images = np.full((60, 600, 600, 3), 178, np.uint8)
    images[:30, :, :, 0] = 78
    mean, deviation = moments(images)
    np.testing.assert_allclose(mean * 255, [128, 178, 178], rtol=1e-12)
    np.testing.assert_allclose(deviation * 255, [50, 0, 0], atol=1e-9)


def test_weights_are_put_where_they_belong():
    spec = {"name": "small", "channels": 3, "size": 16, "classes": 4}
    one, two = build(spec), build({**spec, "classes": 7})
    count, total = load_weights(two.body, {**one.body.state_dict(), "other": torch.zeros(3)})
    assert count == total and torch.equal(one.body[0].weight, two.body[0].weight)
