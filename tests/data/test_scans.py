"""Images as they are: medical images and arrays, slices of volumes, one range for all, what is said of them."""
import csv
import os
import zlib
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from common.data.decoding import NotAnImage, decode, open_image
from common.data.preprocessing import apply, fit, summarise_images
from common.data.scans import Volume
from common.data.sources import read_source
from common.system.errors import UserError
from conftest import load_script

MAIN, PREDICT = load_script("OwnData"), load_script("OwnData", "predict.py")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def ramp(low, high, shape=(20, 20)):
    return np.linspace(low, high, shape[0] * shape[1]).reshape(shape)


def write_scan(path, values):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path))


@pytest.mark.parametrize("name", ["a.dcm", "a.nii", "a.nii.gz", "a.mha", "a.mhd", "a.nrrd", "a.npy"])
def test_every_format_is_an_image(tmp_path, name):
    """A twelve-bit ramp: one range, from the data, becomes black to white."""
    values = ramp(0, 4000).astype(np.int16)
    root = tmp_path / "images"
    root.mkdir()
    if name == "a.npy":
        np.save(root / name, values)
    else:
        write_scan(root / name, values[None] if name == "a.dcm" else values)
    source = read_source(images=str(root))
    assert source.names == [name]
    preprocessing = fit(source, np.arange(1))
    assert preprocessing["channels"] == 1 and preprocessing["size"] == 20
    low, high = preprocessing["window"]
    assert 0 <= low < 40 and 3960 < high <= 4000
    inputs, readable = apply(source, preprocessing)
    pixels = inputs.raw(slice(None))[0, :, :, 0].numpy()
    assert readable.all() and pixels[0, 0] == 0 and pixels[-1, -1] == 255
    assert (abs(pixels - ramp(0, 255)) <= 4).all()


def test_one_range_for_all(tmp_path):
    """Each by its own range, or by that of 16 bits, would look alike, or black."""
    root = tmp_path / "images"
    root.mkdir()
    for name, value in (("a", 100), ("b", 2000), ("c", 4000)):
        values = np.full((16, 16), value, np.uint16)
        values[0] += np.arange(16, dtype=np.uint16)
        Image.fromarray(values).save(root / f"{name}.png")
    source = read_source(images=str(root))
    inputs, _ = apply(source, fit(source, np.arange(3)))
    a, b, c = inputs.raw(slice(None)).numpy()[:, 8, 8, 0].astype(int)
    assert a < 5 and abs(b - 124) < 4 and c > 250
    inputs, _ = apply(source, fit(source, np.arange(3), window=(0, 8000)))
    assert (abs(inputs.raw(slice(None)).numpy()[:, 8, 8, 0] - np.array([3, 64, 127.5])) <= 1).all()
    alone = replace(source, names=source.names[1:2], raw=source.raw[1:2])
    only, _ = apply(alone, fit(source, np.arange(3)))  # as beside the others
    assert abs(int(only.raw(slice(None))[0, 8, 8, 0]) - b) == 0


@pytest.mark.parametrize("window", [None, (-1000, 1000)])
def test_pixels_that_are_not_finite_are_the_ends_of_the_others(tmp_path, window):
    values = ramp(-1000, 1000).astype(np.float32)
    values[10, :3] = np.nan, -np.inf, np.inf
    np.save(tmp_path / "a.npy", values)
    source = read_source(images=str(tmp_path))
    inputs, _ = apply(source, fit(source, np.arange(1), window=window))
    pixels = inputs.raw(slice(None))[0, :, :, 0].numpy()
    assert pixels[10, :3].tolist() == [0, 0, 255] and (abs(pixels[11:] - ramp(0, 255)[11:]) <= 4).all()


def test_floats_are_not_black(tmp_path):
    np.save(tmp_path / "a.npy", ramp(-.5, .5).astype(np.float32))
    source = read_source(images=str(tmp_path))
    inputs, _ = apply(source, fit(source, np.arange(1)))
    assert abs(int(inputs.raw(slice(None))[0, 10, 10, 0]) - 128) < 10


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.npy"])
def test_slices_of_volumes(tmp_path, name):
    volume = np.stack([np.full((16, 16), k * 100.) for k in range(5)])
    if name == "a.npy":
        np.save(tmp_path / name, volume)
    else:
        write_scan(tmp_path / name, volume)
    with pytest.raises(Volume, match=f"{name}: a volume of 5 slices; expected --slice K, from 0 to 4"), open_image(
            tmp_path / name):
        pass
    with open_image(tmp_path / name, 3) as image:
        assert np.asarray(image).shape == (16, 16) and (np.asarray(image) == 300).all()
    with pytest.raises(Volume, match="5 slices; expected --slice from 0 to 4"), open_image(tmp_path / name, 5):
        pass


def test_scans_that_are_none(tmp_path):
    for name in ("a.dcm", "a.nii", "a.mha", "a.npy"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(NotAnImage), open_image(tmp_path / name):
            pass
    np.save(tmp_path / "line.npy", np.zeros(3))
    with pytest.raises(NotAnImage, match="1 dimensions"), open_image(tmp_path / "line.npy"):
        pass


def test_colours_of_an_array(tmp_path):
    values = np.zeros((8, 9, 3), np.uint8)
    values[..., 1] = 77
    np.save(tmp_path / "a.npy", values)
    with open_image(tmp_path / "a.npy") as image:
        assert image.size == (9, 8) and image.getpixel((1, 1)) == (0, 77, 0)


@pytest.mark.parametrize(("how", "said"), [("pad", "nothing cut away, black beside"), ("crop", "cut to the middle square"),
                                           ("stretch", "nothing cut away, stretched")])
def test_what_is_done_is_said(tmp_path, how, said):
    for k in range(3):
        Image.fromarray(np.full((76, 51), k, np.uint8)).save(tmp_path / f"{k}.png")
    source = read_source(images=str(tmp_path))
    summary = summarise_images(source, np.arange(3))
    made = fit(source, np.arange(3), summary=summary, fitting=how, size=32)
    assert summary.describe(made) == f"images: 51 x 76 -> 32 x 32, {said}"
    Image.fromarray(np.full((9, 9), 5000, np.uint16)).save(tmp_path / "3.png")
    source = read_source(images=str(tmp_path))
    summary = summarise_images(source, np.arange(4))
    assert summary.describe(fit(source, np.arange(4), summary=summary, window=(0, 4095))).endswith(
        "; of more than 8 bits a pixel, 0 to 4095 become black to white (--window LOW HIGH)")


def test_nothing_is_cut_by_default(tmp_path):
    """What is at the edge of a long image is there: with --fit crop it would be lost."""
    values = np.full((20, 60), 10, np.uint8)
    values[:, :8] = 250
    Image.fromarray(values).save(tmp_path / "a.png")
    source = read_source(images=str(tmp_path))
    inputs, _ = apply(source, fit(source, np.arange(1), size=60))
    assert inputs.raw(slice(None)).max() > 240


@pytest.fixture
def volumes(tmp_path):
    """Flags for 24 volumes of two kinds, 20 of them answered; --slice 1 tells them apart."""
    (tmp_path / "images").mkdir()
    random, lines = np.random.default_rng(0), ["task,worker,label"]
    for k in range(24):
        values = random.normal(0, 20, (3, 24, 20))
        values[1] += 1000 * (k % 2)
        write_scan(tmp_path / "images" / f"p{k:02}.nii.gz", values.astype(np.float32))
        lines += [f"p{k:02},{worker},{'yes' if k % 2 else 'no'}" for worker in "abc" if k < 20]
    (tmp_path / "answers.csv").write_text("\n".join(lines) + "\n")
    return ["--answers", "answers.csv", "--images", "images", "--device", "cpu", "--epochs", "8", "--methods",
            "majority-vote", "--folds", "2", "--out", "run", "--cache", "none"]


def predictions(file):
    with open(file, newline="") as opened:
        return {row["item"]: row for row in csv.DictReader(opened)}


def test_a_run_on_slices(tmp_path, volumes, capsys):
    with pytest.raises(UserError, match="p00.nii.gz: a volume of 3 slices; expected --slice K, from 0 to 2"):
        MAIN.main([*volumes, "--check"])
    assert MAIN.main([*volumes, "--slice", "1"]) == 0
    text = capsys.readouterr().out
    assert "images: 20 x 24 -> 20 x 20, nothing cut away, black beside; of more than 8 bits a pixel, -" in text
    assert "a network is trained from scratch: the images are grey and small, 20 pixels" in text
    run = predictions("run/predictions.csv")
    assert PREDICT.main(["run", "--images", "images", "--device", "cpu", "--cache", "none"]) == 0
    again = predictions("predictions.csv")
    assert len(run) == 4 and all(again[f"{name}.nii.gz"] == row | {"item": f"{name}.nii.gz"} for name, row in run.items())
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("flags", [["--window", "5", "5"], ["--window", "nan", "5"], ["--window", "9", "5"]])
def test_windows_that_are_none(volumes, flags):
    with pytest.raises(UserError, match=f"--window {flags[1]} {flags[2]}: expected two numbers, the lower one first"):
        MAIN.main([*volumes, "--slice", "1", *flags])


def test_colours_of_more_than_8_bits_are_refused(tmp_path):
    """Colours from 0 to 1, or above 255, are refused instead of ending black or white; small whole numbers are colours."""
    colours = np.zeros((9, 9, 3))
    colours[..., 1] = .5
    for name, values in (("a.npy", colours), ("b.npy", (colours * 4000).astype(np.uint16))):
        np.save(tmp_path / name, values)
        with pytest.raises(Volume, match=f"{name}: colours of .*; expected whole numbers from 0 to 255"), \
                open_image(tmp_path / name):
            pass
    image = SimpleITK.GetImageFromArray(colours.astype(np.float32), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "c.mha"))
    with pytest.raises(Volume, match="c.mha: colours of float32, 0 to 0.5"), open_image(tmp_path / "c.mha"):
        pass
    np.save(tmp_path / "d.npy", (colours * 200).astype(np.uint16))
    with open_image(tmp_path / "d.npy") as image:
        assert np.asarray(image)[0, 0].tolist() == [0, 100, 0]
    np.save(tmp_path / "e.npy", np.full((4, 5, 1), 7.))
    with open_image(tmp_path / "e.npy") as image:
        assert image.size == (5, 4) and np.asarray(image).max() == 7


def test_a_page_is_chosen_as_a_slice_is(tmp_path):
    pages = [Image.fromarray(np.full((12, 12), value, np.uint8)) for value in (10, 20, 30)]
    (tmp_path / "images").mkdir()
    pages[0].save(tmp_path / "images" / "a.tif", save_all=True, append_images=pages[1:])
    source = read_source(images=str(tmp_path / "images"))
    for plane, value in ((None, 10), (2, 30)):
        summary = summarise_images(source, [0], plane)
        made = fit(source, [0], summary=summary, plane=plane)
        images, _ = apply(source, made)
        assert images.pixels.images.unique().tolist() == [value]
        assert ("1 have several pages, of which the first is used (--slice K)" in summary.describe(made)) == (plane is None)
    with pytest.raises(Volume, match="a.tif: 3 pages; expected --slice from 0 to 2"), open_image(source.raw[0], 3):
        pass


def test_a_moving_picture_has_no_pages(tmp_path, capsys):
    first, second = (Image.fromarray(np.full((12, 12), value, np.uint8)) for value in (10, 200))
    (tmp_path / "images").mkdir()
    first.save(tmp_path / "images" / "a.gif", save_all=True, append_images=[second])
    source = read_source(images=str(tmp_path / "images"))
    inputs, readable = apply(source, fit(source, np.arange(1), plane=1))
    assert readable.all() and (inputs.raw(slice(None)) == 10).all()


def test_a_metaimage_is_known_by_its_data_file_too(tmp_path):
    write_scan(tmp_path / "a.mhd", np.full((8, 8), 100, np.int16))
    assert (decode([tmp_path / "a.mhd"], 8, "L")[0].images == 100).all()
    np.full((8, 8), 50, np.int16).tofile(tmp_path / "a.raw")
    os.utime(tmp_path / "a.raw", (1, 1))
    assert (decode([tmp_path / "a.mhd"], 8, "L")[0].images == 50).all()


def test_flags_without_effect_are_a_warning(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "images" / "a.png")
    summarise_images(read_source(images=str(tmp_path / "images")), [0]).warn_of_unused((0, 1), 3)
    said = capsys.readouterr().out
    assert "--window: has no effect, no image has more than 8 bits a pixel" in said
    assert "--slice: has no effect, no image is a volume or has several pages" in said


def test_wide_colours_are_named(tmp_path):
    """Pillow reads the upper 8 of 16 bits: what has 12 is nearly black."""
    rows = b"".join(b"\0" + b"\x0f\xff" * 12 for _ in range(4))

    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
    (tmp_path / "images").mkdir()
    header = (4).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    (tmp_path / "images" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                                                + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    source = read_source(images=str(tmp_path / "images"))
    summary = summarise_images(source, [0])
    assert "1 have 16 bits a colour, of which the upper 8 are used" in summary.describe(fit(source, [0], summary=summary))


def test_other_images_than_those_of_the_training(tmp_path):
    """A model of images of 8 bits has no range for those of 12: they are not read as nearly black."""
    (tmp_path / "train").mkdir()
    Image.new("L", (8, 8), 200).save(tmp_path / "train" / "a.png")
    source = read_source(images=str(tmp_path / "train"))
    made = fit(source, [0])
    (tmp_path / "new").mkdir()
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path / "new" / "a.png")
    Image.fromarray(np.full((8, 8), 200, np.uint16)).save(tmp_path / "new" / "b.png")
    np.save(tmp_path / "new" / "c.npy", np.zeros((5, 8, 8)))
    np.save(tmp_path / "new" / "d.npy", ramp(0, 1, (8, 8)).astype(np.float32))
    images, readable = apply(read_source(images=str(tmp_path / "new")), made)
    assert readable.tolist() == [False, True, False, False]
    assert images.pixels.images[1].unique().tolist() == [200]


@pytest.mark.parametrize("size", [(4000, 1), (1, 4000), (4000, 10)])
def test_strips_are_not_lost(size):
    from common.data.squares import pad
    image = np.asarray(pad(Image.new("L", size, 255), 64))
    assert image.shape == (64, 64) and (image == 255).sum() == 64
