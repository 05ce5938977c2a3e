"""Images: normalising, augmentation, decoding and its cache."""
import math
import os

import numpy as np
import pytest
import torch
from PIL import Image

from common.data.cache import cache_folder
from common.data.decoding import decode
from common.data.image_lists import left_out_file
from common.data.images import Augmentation, ImageSet, Pixels, ahead

PIXELS = torch.randint(0, 256, (6, 9, 9, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
MEAN, DEVIATION = (.5, .4, .3), (.2, .25, .3)


def image_set(augmentation=None, pixels=PIXELS):
    return ImageSet(pixels, MEAN, DEVIATION, augmentation)


def test_batches_are_normalised_and_channels_last():
    items = torch.tensor([4, 0, 4])
    batch = image_set().batch(items)
    expected = (PIXELS[items].numpy() / 255 - np.array(MEAN)) / np.array(DEVIATION)
    np.testing.assert_allclose(batch, expected.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-5)
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_one_channel_stands_for_three_equal_ones():
    grey = PIXELS[..., :1]
    items = torch.tensor([1, 3])
    expected = image_set(pixels=grey.expand(-1, -1, -1, 3)).batch(items)
    torch.testing.assert_close(image_set(pixels=grey).batch(items), expected)


def turn(degrees, mirror):
    """An augmentation map as Augmentation.draw makes it, for all six images."""
    angle = math.radians(degrees)
    sign = -1. if mirror else 1.
    return torch.tensor([[math.cos(angle) * sign, -math.sin(angle), 0],
                         [math.sin(angle) * sign, math.cos(angle), 0]]).repeat(6, 1, 1)


@pytest.mark.parametrize(("degrees", "mirror"), [(0, False), (0, True), (90, False)])
def test_maps_mirror_and_turn_exactly(degrees, mirror):
    items = torch.arange(6)
    plain, moved = image_set().batch(items), image_set().batch(items, turn(degrees, mirror))
    expected = plain.flip(3) if mirror else torch.rot90(plain, degrees // 90, (2, 3))
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-3)
    assert moved.is_contiguous(memory_format=torch.channels_last)


def test_draws_stay_within_the_rotation_and_are_about_even():
    maps = Augmentation(flip=True, rotation=45).draw(4000, torch.Generator().manual_seed(0), "cpu")
    determinant = maps[:, 0, 0] * maps[:, 1, 1] - maps[:, 0, 1] * maps[:, 1, 0]
    torch.testing.assert_close(determinant.abs(), torch.ones(4000))
    assert .45 < (determinant < 0).float().mean() < .55
    angles = torch.rad2deg(torch.atan2(-maps[:, 0, 1], maps[:, 1, 1]))
    assert angles.abs().max() <= 45.001 and angles.min() < -40 and angles.max() > 40
    still = Augmentation(flip=False, rotation=0).draw(3, torch.Generator(), "cpu")
    torch.testing.assert_close(still, torch.eye(2, 3).repeat(3, 1, 1))


def test_decode_resizes_leaves_out_and_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = [tmp_path / name for name in ("a.png", "b.jpg", "broken.jpg")]
    Image.fromarray(np.full((8, 8, 3), (200, 100, 50), np.uint8)).save(files[0])
    Image.fromarray(np.full((20, 14), 77, np.uint8)).save(files[1])
    files[2].write_bytes(files[1].read_bytes()[:60])
    pixels, readable = decode(files, 8)
    images = pixels.images.numpy().copy()
    assert pixels.mapped and images.shape == (3, 8, 8, 3) and readable.tolist() == [True, True, False]
    assert (images[0] == (200, 100, 50)).all() and (abs(images[1].astype(int) - 77) <= 1).all()

    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("decoded again"))
    again, readable = decode(files, 8)
    np.testing.assert_array_equal(again.images, images)
    assert readable.tolist() == [True, True, False] and len(list(cache_folder().iterdir())) == 1
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    os.utime(files[0], ns=(1, 1))  # a file has changed: another key
    decode(files, 8)
    assert len(list(cache_folder().iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_no_hindrance(tmp_path, monkeypatch, capsys):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    pixels, _ = decode([tmp_path / "a.png"], 8, "L")
    assert pixels.images.shape == (1, 8, 8, 1) and not pixels.mapped and "could not be kept" in capsys.readouterr().out


def test_names_in_lists_are_quoted():
    assert left_out_file(["a.jpg", "b, c.jpg"]) == {"left_out.csv": 'item\na.jpg\n"b, c.jpg"\n'} and left_out_file([]) == {}


def test_the_checksum_is_that_of_the_images_wherever_they_are(tmp_path, monkeypatch):
    """Else a run could not go on where the cache of its images has gone, or come."""
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "b.png")
    found = []
    (tmp_path / "file").write_text("")
    for cache in ("cache", "file"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
        pixels, _ = decode([tmp_path / "a.png", tmp_path / "b.png"], 8, "L")
        images = ImageSet(pixels, (.5,), (.5,))
        found.append((pixels.mapped, images.checksum(), images.select(torch.tensor([1])).checksum()))
    assert [mapped for mapped, *_ in found] == [True, False] and found[0][1:] == found[1][1:]


def test_a_map_gives_the_batches_that_memory_gives(tmp_path):
    """The map of a file, selected from twice, read ahead or brought into memory, against the same images in memory."""
    PIXELS.numpy().tofile(tmp_path / "pixels")
    images = torch.from_numpy(np.memmap(tmp_path / "pixels", np.uint8, "c", shape=PIXELS.shape))
    mapped = image_set(Augmentation(True, 20), Pixels(images, torch.arange(6), mapped=True))
    chosen, again = torch.tensor([5, 3, 1, 0]), torch.tensor([2, 0, 1])
    mapped, plain = (images.select(chosen).select(again) for images in (mapped, image_set(Augmentation(True, 20))))
    assert mapped.pixels.images.data_ptr() == images.data_ptr() and len(mapped) == len(plain) == 3
    maps = plain.draw(torch.Generator().manual_seed(0))
    parts = [torch.tensor([1, 0]), slice(1, 3), torch.tensor([2])] * 3  # more than are read ahead
    kept = mapped.to(torch.device("cpu"), "device")
    assert not kept.pixels.mapped and mapped.to(torch.device("cpu")).pixels.mapped
    for images in (mapped.to(torch.device("cpu"), "disk"), kept):
        for a, b, part in zip(images.batches(parts, maps), plain.batches(parts, maps), parts, strict=True):
            assert a.equal(b) and b.equal(plain.batch(part, maps[part]))
    assert mapped.checksum() != mapped.select(torch.tensor([1, 0, 2])).checksum()


def test_what_reading_ahead_raises_is_raised():
    def broken(_):
        raise ValueError("here")
    with pytest.raises(ValueError, match="here"):
        list(ahead(broken, range(9)))
