"""Dogs vs. Cats and LUNA16: their files, their crowds, and LUNA16's preparation from scans."""
import csv
import json
import os
import zlib

import numpy as np
import pytest
import SimpleITK
from PIL import Image

import dogs_vs_cats
import luna16
import prepare
from common.system.errors import UserError
from conftest import load_script

SMALL = ("--epochs", 2, "--batch-size", 8, "--device", "cpu", "--precision", "float32")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_images(folder, names, size=(24, 20)):
    """A JPEG for each name; dogs and nodules are brighter."""
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        level = 150 if "dog" in name.lower() or "_1" in name else 60
        Image.fromarray(random.integers(level - 40, level + 40, size, np.uint8)).save(folder / name)


def kaggle(folder, count=12):
    names = [f"{animal}.{k}.jpg" for animal in ("cat", "dog") for k in range(count)]
    write_images(folder, names)
    for name, part in (("train_file.csv", names[::2]), ("val_file.csv", names[1::2])):
        (folder / name).write_text("".join(f"{item},{int(item.startswith('dog'))}\n" for item in part))
    return folder


def luna(folder, count=10):
    """count negatives and half as many nodules for training, as many for testing; one crop is not square."""
    for split, name in (("train", "train_file.csv"), ("test", "val_file.csv")):
        crops = [(f"/LUNA16/data/{split}/image_{c}{k}.jpg", c) for c in (0, 1) for k in range(count // (1 + c))]
        write_images(folder, [item.lstrip("/") for item, _ in crops], (50, 50))
        write_images(folder, [crops[0][0].lstrip("/")], (47, 50))
        # with and without a slash in front
        (folder / name).write_text("".join(f"{item[k % 2:]},{c}\n" for k, (item, c) in enumerate(crops)))
    return folder


def run(dataset, path, out, *arguments):
    status = load_script(dataset).main(["--path", str(path), "--out", str(out), *map(str, SMALL), *map(str, arguments)])
    return status, json.loads((out / "summary.json").read_text())


def read_csv(file):
    with open(file, newline="") as rows:
        return list(csv.DictReader(rows))


def test_dogs_command_learns_its_prior(command, tmp_path):
    kaggle(tmp_path / "data")
    done = command("DogsVsCats", "--case", 3, "--path", "data", *SMALL)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "runs" / "dogs-vs-cats-case3-high-seed0"
    summary = json.loads((out / "summary.json").read_text())
    prior = summary["methods"]["max-mig"]["prior"]
    assert sum(prior) == pytest.approx(1) and prior[0] != .5  # learnt
    assert summary["annotators"] == 10 and "AUC" in done.stdout
    rows = read_csv(out / "metrics.csv")
    assert all(0 <= float(row["test_auc"]) <= 1 for row in rows) and len(rows) == 14
    assert [row["item"] for row in read_csv(out / "labels.csv")] == [f"{a}.{k}.jpg" for a in ("cat", "dog")
                                                                    for k in range(0, 12, 2)]
    assert json.loads((out / "config.json").read_text())["flags"]["augment"] == "fresh"


def test_luna_prior_stays_and_crops_of_any_size_are_read(tmp_path):
    status, summary = run("LUNA16", luna(tmp_path / "data"), tmp_path / "run", "--expertise", 0)
    assert status == 0 and summary["items"] == 15
    assert summary["methods"]["max-mig"]["prior"] == pytest.approx([.8, .2])
    train, test, files = luna16.load(tmp_path / "data")
    assert train.inputs.raw(slice(None)).shape == (15, 150, 150, 1)
    assert train.inputs.batch(slice(2)).shape == (2, 3, 150, 150)
    assert train.truth.tolist() == [0] * 10 + [1] * 5 and len(test) == 15 and files == {}
    assert train.names[0] == "LUNA16/data/train/image_00.jpg"


def test_petimages_are_halved_and_broken_ones_left_out(tmp_path, capsys):
    folder = tmp_path / "data"
    write_images(folder, [f"PetImages/{animal}/{k}.jpg" for animal in ("Cat", "Dog") for k in range(12)])
    (folder / "PetImages" / "Cat" / "3.jpg").write_bytes(b"")
    (folder / "PetImages" / "Dog" / "Thumbs.db").write_bytes(b"not an image")
    _, summary = run("DogsVsCats", folder, tmp_path / "run", "--methods", "majority-vote")
    assert "1 images could not be decoded and are left out: PetImages/Cat/3.jpg" in capsys.readouterr().out
    assert (tmp_path / "run" / "left_out.csv").read_text() == "item\nPetImages/Cat/3.jpg\n"
    halves = [[row.split(",") for row in (tmp_path / "run" / f"split_{name}").read_text().split()]
              for name in dogs_vs_cats.LISTS]
    for half in halves:
        assert len(half) == 12 and sum(truth == "1" for _, truth in half) == 6
        assert all((truth == "1") == ("Dog" in name) for name, truth in half)
    assert not {name for name, _ in halves[0]} & {name for name, _ in halves[1]}
    train, test, _ = dogs_vs_cats.load(folder)
    assert len(train) + len(test) == 23 and summary["items"] == len(train)
    # the lists it wrote, put beside the images, give the same split
    for name in dogs_vs_cats.LISTS:
        (folder / name).write_bytes((tmp_path / "run" / f"split_{name}").read_bytes())
    assert dogs_vs_cats.load(folder)[0].names == train.names


@pytest.mark.parametrize("module", [dogs_vs_cats, luna16])
def test_crowds(module):
    for expertise, counts in ((1, (5, 10, 10)), (0, (10, 25, 12))):
        experts = module.EXPERTS[expertise]
        np.testing.assert_allclose(experts.confusion.sum(2), 1)
        seniors = len(experts.confusion)
        assert (seniors, seniors + experts.naive, seniors + len(experts.copied)) == counts


@pytest.mark.parametrize(("load", "change", "message"), [
    (dogs_vs_cats.load, lambda p: (p / "train_file.csv").write_text("cat.0.jpg\n"), "train_file.csv, line 1: 'cat.0.jpg'"),
    (dogs_vs_cats.load, lambda p: (p / "val_file.csv").write_text("cat.0.jpg,2\n"), "val_file.csv, line 1: .* from 0 to 1"),
    (dogs_vs_cats.load, lambda p: (p / "val_file.csv").write_text("cat.0.jpg,0\n"), "images of all 2 classes"),
    (dogs_vs_cats.load, lambda p: (p / "dog.0.jpg").unlink(), r"train_file.csv: names dog.0.jpg, which is not in"),
    (dogs_vs_cats.load, lambda p: [f.unlink() for f in p.iterdir()], "no cats and dogs in it; expected cat.0.jpg"),
    (luna16.load, lambda p: (p / "val_file.csv").unlink(), "has no val_file.csv; prepare.py makes it"),
    (luna16.load, lambda p: p.rename(p.parent / "elsewhere"), "no such folder"),
])
def test_bad_folders(tmp_path, load, change, message):
    folder = kaggle(tmp_path / "data") if load is dogs_vs_cats.load else luna(tmp_path / "data")
    change(folder)
    with pytest.raises(UserError, match=message):
        load(folder)
    with pytest.raises(UserError, match="--path: missing"):
        load(None)


OBLIQUE = (.8, -.6, 0, .48, .64, -.6, .36, .48, .8)  # a rotation that leaves no axis where it was


def write_scan(file, cube, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1), compress=False):
    """A scan of 80 x 70 x 30 voxels of water with a bright 5 x 5 x 5 cube around voxel `cube` (x, y, z); returns the
    cube's place in the world."""
    units = np.zeros((30, 70, 80), np.int16)
    x, y, z = cube
    units[max(z - 2, 0):z + 3, max(y - 2, 0):y + 3, max(x - 2, 0):x + 3] = 400
    volume = SimpleITK.GetImageFromArray(units)
    volume.SetOrigin((-120.5, 33., -400.))
    volume.SetSpacing((.7, .8, 2.5))
    volume.SetDirection(direction)
    file.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(volume, str(file), compress)
    return volume.TransformIndexToPhysicalPoint(cube)


def write_candidates(file, rows):
    file.write_text("seriesuid,coordX,coordY,coordZ,class\n" + "".join(
        f"{scan},{x},{y},{z},{c}\n" for scan, (x, y, z), c in rows))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1), OBLIQUE])
def test_a_cube_lands_in_the_middle_of_its_crop(tmp_path, direction, compress):
    file = tmp_path / "a.mhd"
    point = write_scan(file, (40, 30, 12), direction, compress)
    assert (tmp_path / ("a.zraw" if compress else "a.raw")).exists()
    pixels = prepare.crop(SimpleITK.ReadImage(str(file)), point)
    bright = np.argwhere(pixels == 255)
    assert pixels.shape == (50, 50)
    assert bright.min(0).tolist() == [23, 23] and bright.max(0).tolist() == [27, 27] and len(bright) == 25
    assert set(np.unique(pixels)) == {182, 255}  # water: 1000 of the 1400 units


def test_crops_are_padded_with_air_and_outside_there_is_none(tmp_path):
    point = write_scan(tmp_path / "a.mhd", (3, 30, 12))
    volume = SimpleITK.ReadImage(str(tmp_path / "a.mhd"))
    pixels = prepare.crop(volume, point)
    assert (pixels[:, :22] == 0).all() and (pixels[:, 22:] >= 182).all() and pixels[25, 25] == 255
    assert prepare.crop(volume, (1e4, 0, 0)) is None


def test_compressed_scans_that_are_none(tmp_path):
    """On the second ITK never comes back."""
    file, data = tmp_path / "a.mhd", tmp_path / "a.zraw"
    write_scan(file, (40, 30, 12), compress=True)
    whole, header = data.read_bytes(), file.read_text()
    assert prepare.read_scan(file).GetSize() == (80, 70, 30)
    volume, dictionary = zlib.decompress(whole), zlib.compressobj(zdict=b"water")
    for content in (whole[:-9], dictionary.compress(volume) + dictionary.flush(), zlib.compress(volume[1:]),
                    zlib.compress(volume + b"a"), whole + b"a", b"\0" * len(whole)):
        data.write_bytes(content)
        file.write_text(header.replace(f"DataSize = {len(whole)}", f"DataSize = {len(content)}"))
        with pytest.raises(UserError, match=r"broken, or not compressed; expected 336000 bytes|cannot be read \(Error"):
            prepare.read_scan(file)
    data.write_bytes(whole)
    file.write_text(header.replace("DataSize = ", "DataSize = 1"))
    with pytest.raises(UserError, match=rf"{len(whole)} bytes; expected 1{len(whole)}, as a.mhd says"):
        prepare.read_scan(file)


def luna_challenge(folder):
    """Four scans with a nodule each, one of them broken, one missing; ten other candidates a scan."""
    rows = []
    for k in range(4):
        point = write_scan(folder / f"subset{k % 2}" / f"scan{k}.mhd", (30 + k, 35, 15))
        rows += [(f"scan{k}", point, 1)] + [(f"scan{k}", np.add(point, (j, 0, 0)), 0) for j in range(1, 11)]
    (folder / "subset0" / "scan2.raw").unlink()
    rows.append(("scan9", point, 1))
    rows.append(("scan0", (1e4, 0, 0), 1))
    write_candidates(folder / "candidates.csv", rows)
    return folder, ("--ct", folder, "--candidates", folder / "candidates.csv", "--out", folder / "out")


def test_prepare_and_train_on_what_it_made(tmp_path, command):
    folder, arguments = luna_challenge(tmp_path / "ct")
    done = command("LUNA16/prepare.py", *arguments, "--negatives", 3, "--seed", 1)
    assert done.returncode == 0, done.stderr
    out = folder / "out"
    left_out = {row["name"]: row["why"] for row in read_csv(out / "left_out.csv")}
    assert left_out["scan9"] == "no .mhd file" and left_out["scan2"].startswith("cannot be read")
    assert left_out["image_45"] == "outside its scan scan0" and len(left_out) == 3 and "scan9" in done.stdout

    train, test, _ = luna16.load(out)
    assert (train.truth.sum() + test.truth.sum()).item() == 3
    scans = [{int(name.split("_")[1].split(".")[0]) // 11 for name in items.names} for items in (train, test)]
    assert not scans[0] & scans[1] and scans[0] | scans[1] == {0, 1, 3}  # no scan on both sides
    crops = sorted(file for split in ("train", "test") for file in (out / "LUNA16" / "data" / split).iterdir())
    nodule = next(file for file in crops if file.name == "image_0.jpg")
    assert abs(np.asarray(Image.open(nodule)).astype(int)[25, 25] - 255) < 12  # JPEG's error

    before = {file: file.stat().st_mtime_ns for file in crops}
    crops[3].unlink()
    again = command("LUNA16/prepare.py", *arguments, "--negatives", 3, "--seed", 1)
    assert again.returncode == 0
    assert [file for file in crops if file.stat().st_mtime_ns != before[file]] == [crops[3]]
    status, _ = run("LUNA16", out, tmp_path / "run", "--methods", "max-mig", "--batch-size", 4)
    assert status == 0


def test_crops_of_another_source_are_made_again(tmp_path):
    """The candidates in another order, then a scan replaced: no crop of the earlier run is left in the lists."""
    folder, arguments = luna_challenge(tmp_path / "ct")
    arguments = list(map(str, arguments))

    def crops():
        prepare.main(arguments)
        images = [row.split(",") for name in luna16.LISTS for row in (folder / "out" / name).read_text().split()]
        return {name: (truth, (folder / "out" / name.lstrip("/")).read_bytes()) for name, truth in images}
    first = crops()
    assert crops() == first
    header, *rows = (folder / "candidates.csv").read_text().splitlines()
    (folder / "candidates.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    second = crops()
    arguments[-1] = str(folder / "new")
    prepare.main(arguments)
    for name, (_, content) in second.items():
        assert (folder / "new" / name.lstrip("/")).read_bytes() == content
    arguments[-1] = str(folder / "out")
    write_scan(folder / "subset1" / "scan1.mhd", (10, 10, 5))
    third = crops()
    assert {name for name in second if second[name] != third[name]} == {
        name for name, (_, content) in second.items() if b"scan1 " in content}


@pytest.mark.parametrize(("change", "message"), [
    (("NDims = 3", "NDims = -1"), "NDims -1, DimSize 80 70 30; expected a volume"),
    (("DimSize = 80 70 30", "DimSize = 80 70"), "expected a volume"),
    (("DimSize = 80 70 30", "DimSize = 80000 70000 30000"), "bytes; expected 336000000000000 of a volume"),
    (("NDims = 3", "NDims = 4"), "expected a volume"),
    (("ElementType = MET_SHORT", "ElementType = MET_SHORT_ARRAY"), "expected one number for each voxel"),
    (("ElementType = MET_SHORT", "ElementNumberOfChannels = 2\nElementType = MET_SHORT"), "2 x MET_SHORT; expected one"),
    (("ElementDataFile = a.raw", "ElementDataFile = /dev/zero"), "expected a file beside it"),
    (("ElementDataFile = a.raw", "ElementDataFile = LIST"), "expected a file beside it"),
    (("ElementDataFile = a.raw", "ElementDataFile = b.raw"), "b.raw: no such file"),
    (("BinaryData = True", "BinaryData = False"), "a.mhd"),
])
def test_bad_scans(tmp_path, change, message, capfd):
    write_scan(tmp_path / "a.mhd", (40, 30, 12))
    text = (tmp_path / "a.mhd").read_text()
    assert change[0] in text
    (tmp_path / "a.mhd").write_text(text.replace(*change))
    with pytest.raises(UserError, match=message):
        prepare.read_scan(tmp_path / "a.mhd")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("change", "message"), [
    ("cat.0.jpg,0\n../data/cat.2.jpg,0\n", "names ../data/cat.2.jpg, which is outside of"),
    ("cat.0.jpg,0\ncat.1.jpg,0\ndog.0.jpg,1\n", "val_file.csv: names cat.1.jpg, which train_file.csv names too"),
    ("cat.0.jpg,0\n./cat.0.jpg,1\n", "names cat.0.jpg twice, with class 0 and 1"),
    ("cat.0.jpg,²\n", "line 1: 'cat.0.jpg,²'; expected a file's name and its class"),
    (f"{'x' * 300},0\n", "which is not in"),
])
def test_bad_lists(tmp_path, change, message):
    folder = kaggle(tmp_path / "data")
    (folder / "train_file.csv").write_text(change)
    with pytest.raises(UserError, match=message):
        dogs_vs_cats.load(folder)


def test_bad_images_of_a_class(tmp_path):
    """A dangling and a looping link, too; no image left of a class; one image of a class."""
    folder = tmp_path / "data"
    write_images(folder, [f"{animal}.{k}.jpg" for animal in ("cat", "dog") for k in range(4)])
    for name, target in (("dog.4.jpg", "nowhere"), ("dog.5.jpg", "dog.5.jpg")):
        (folder / name).symlink_to(target)
    train, test, files = dogs_vs_cats.load(folder)
    assert len(train) + len(test) == 8 and files["left_out.csv"] == "item\ndog.4.jpg\ndog.5.jpg\n"
    for k in range(4):
        (folder / f"dog.{k}.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="dog.*: cannot be decoded, nor can any other image of its class"):
        dogs_vs_cats.load(folder)
    for k in range(1, 6):
        (folder / f"dog.{k}.jpg").unlink()
    with pytest.raises(UserError, match="one image of a class; expected two or more"):
        dogs_vs_cats.load(folder)


def test_sample_and_split():
    scan = np.array([f"s{k // 10}" for k in range(500)])
    truth = (np.arange(500) % 25 == 0).astype(int)
    candidates = prepare.Candidates(scan, np.zeros((500, 3)), truth, np.arange(500))
    drawn = prepare.sample(candidates, 5, 0)
    assert drawn.truth.sum() == 20 and len(drawn) == 120 and (np.diff(drawn.row) > 0).all()
    np.testing.assert_array_equal(prepare.sample(candidates, 5, 0).row, drawn.row)
    assert (prepare.sample(candidates, 5, 1).row != drawn.row).any()
    assert len(prepare.sample(candidates, 99, 0)) == 500
    held = prepare.test_scans(drawn, .2, 0)
    assert .15 <= drawn.truth[np.isin(drawn.scan, list(held))].sum() / 20 <= .3
    scan, truth = np.array([f"s{k}" for k in range(10) for _ in range(k + 1)]), np.ones(55, int)
    candidates = prepare.Candidates(scan, np.zeros((55, 3)), truth, np.arange(55))
    for seed in range(50):  # whatever the last scan's nodules are
        held = prepare.test_scans(candidates, .2, seed)
        assert .2 <= np.isin(scan, list(held)).mean() <= .2 + 10 / 55
    assert prepare.test_scans(candidates.select(np.zeros(3, int)), .2, 0) == set()  # one scan is to train on


@pytest.mark.parametrize(("change", "message"), [
    (lambda f: (f / "candidates.csv").write_text("a,b\n1,2\n"), "expected the columns seriesuid, coordX"),
    (lambda f: (f / "candidates.csv").write_text("seriesuid,coordX,coordY,coordZ,class\ns,1,x,2,1\n"), "a row is broken"),
    (lambda f: (f / "candidates.csv").write_text("seriesuid,coordX,coordY,coordZ,class\ns,1,1\n"), "a row is broken"),
    (lambda f: (f / "candidates.csv").unlink(), "no such file"),
    (lambda f: [os.rename(f / s, f / f"x{s}") for s in ("subset0", "subset1")], r"no subset\*/\*.mhd in it"),
    (lambda f: write_candidates(f / "candidates.csv", [("scan0", (0, 0, 0), 0)]), "none of its 4 scans has a nodule"),
    (lambda f: (f / "out").write_text(""), "--out .*: cannot be written to"),
])
def test_bad_challenge_files(tmp_path, change, message):
    folder, arguments = luna_challenge(tmp_path / "ct")
    change(folder)
    with pytest.raises(UserError, match=message):
        prepare.main(list(map(str, arguments)))
