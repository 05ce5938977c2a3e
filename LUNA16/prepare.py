"""Makes the crops that main.py reads from the LUNA16 challenge's scans and candidates.

    python3 prepare.py --ct DIR --candidates candidates.csv --out DATA

DIR holds subset0/ ... with .mhd files. All nodules and a sample of the other candidates become 50 x 50 axial crops
under DATA/LUNA16/data/train and test, with train_file.csv and val_file.csv. Goes on where it stopped. A crop's JPEG comment
says what it was made from: where that has changed it is made again.
"""
import argparse
import csv
import os
import re
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root: runs uninstalled, from any folder

from common.system.errors import UserError, echo, launch  # first: then Control-C in the imports is no traceback

# isort: split
import numpy as np
import SimpleITK
from PIL import Image
from tqdm import tqdm

from common.data.decoding import NotAnImage, open_image
from common.data.opening import MB, folder_at, opened, read_text
from common.system.files import replace_file
from common.training.options import Parser, whole

SIDE = 50  # pixels of a crop
TEST_SHARE = .2  # of the nodules
AIR, DENSE = -1000, 400  # Hounsfield units that become 0 and 255
COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "class")
BYTES = {"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_FLOAT": 4,
         "MET_DOUBLE": 8}
LARGEST_HEADER, LARGEST = MB, 2048 * MB  # of a scan; a large one has 500 MB


@dataclass(frozen=True)
class Candidates:
    """N rows of candidates.csv: scan names, points float64 (N, 3) in millimetres (x, y, z), truth (N,), and their
    row numbers (N,)."""
    scan: np.ndarray
    point: np.ndarray
    truth: np.ndarray
    row: np.ndarray

    def __len__(self):
        return len(self.row)

    def select(self, index):
        return Candidates(self.scan[index], self.point[index], self.truth[index], self.row[index])


def read_candidates(file):
    with read_text(file, f"--candidates {file}") as lines:
        try:
            reader = csv.DictReader(lines)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise UserError(f"--candidates {file}: expected the columns {', '.join(COLUMNS)}")
            scan, *point, truth = zip(*([row[name] for name in COLUMNS] for row in reader), strict=True)
            point, truth = np.array(point, float).T, np.array(truth, int)
            if set(truth) - {0, 1}:
                raise ValueError(f"class {max(set(truth) - {0, 1})}")
            if not np.isfinite(point).all():
                raise ValueError("a place that is not finite")
            return Candidates(np.array(scan), point, truth, np.arange(len(truth)))
        except UnicodeDecodeError:
            raise
        except (ValueError, TypeError, OverflowError, csv.Error) as error:
            raise UserError(f"--candidates {file}: a row is broken ({error}); expected {', '.join(COLUMNS)}") from None


def read_header(file):
    """{key: value} of a .mhd file, of one volume of numbers in one other file, as long as it says; also what that file is
    called, `data`, and its `bytes`, unpacked. Raises UserError for any other."""
    with opened(file, most=LARGEST_HEADER) as content:
        lines = content.read().decode("latin1").splitlines()
    header = {key.strip(): value.strip() for key, found, value in (line.partition("=") for line in lines) if found}
    size, kind = header.get("DimSize", "").split(), header.get("ElementType")
    if header.get("NDims") != "3" or len(size) != 3 or not all(re.fullmatch("[1-9][0-9]{0,5}", side) for side in size):
        raise UserError(f"{file}: NDims {header.get('NDims')}, DimSize {' '.join(size)}; expected a volume")
    if kind not in BYTES or header.get("ElementNumberOfChannels", "1") != "1":
        raise UserError(f"{file}: {header.get('ElementNumberOfChannels', '1')} x {kind}; expected one number for each voxel")
    count = int(size[0]) * int(size[1]) * int(size[2]) * BYTES[kind]
    name = header.get("ElementDataFile", "")
    if not re.fullmatch(r"[^/%]+", name) or name.split()[0] in ("LIST", "LOCAL", "Local", "local"):
        raise UserError(f"{file}: ElementDataFile {name}; expected a file beside it")
    data = file.parent / name
    with opened(data) as content:
        there = os.fstat(content.fileno()).st_size
    compressed = header.get("CompressedData", "False").lower() == "true"
    least = count / 1100 if compressed else count  # a compressed file becomes at most a thousand times as large
    if header.get("CompressedDataSize", str(there)) != str(there) and compressed:
        raise UserError(f"{data}: {there} bytes; expected {header['CompressedDataSize']}, as {file.name} says")
    if count > LARGEST or there < least:
        raise UserError(f"{data}: {there} bytes; expected {count} of a volume of {' x '.join(size)}, up to {LARGEST}")
    return header | {"data": data, "bytes": count, "compressed": compressed}


def check_compressed(data, count):
    """Raises UserError where a file is not the whole of `count` bytes, compressed: ITK hangs on some that are not."""
    unpack, found = zlib.decompressobj(zlib.MAX_WBITS | 32), 0  # of zlib's kind or gzip's
    with opened(data) as content:
        while found <= count and not unpack.eof:
            piece = unpack.unconsumed_tail or content.read(MB)
            size = len(unpack.decompress(piece, MB))
            if not piece and not size:
                break
            found += size
        if found != count or not unpack.eof or unpack.unused_data or content.read(1):
            raise UserError(f"{data}: broken, or not compressed; expected {count} bytes when unpacked")


def read_scan(file):
    """The SimpleITK image in a .mhd file, of one number for each voxel of a volume. Raises UserError for any other."""
    header = read_header(file)
    if header["compressed"]:
        check_compressed(header["data"], header["bytes"])
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # the library says what it finds on standard error, past Python
    try:
        return SimpleITK.ReadImage(str(file), imageIO="MetaImageIO")
    except RuntimeError as error:
        raise UserError(f"{file}: {str(error).strip().splitlines()[-1]}") from None
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def stamp(file):
    """What a scan is known by: the sizes and times of its two files. Raises UserError where they are none."""
    return " ".join(f"{status.st_size},{status.st_mtime_ns}" for part in (file, read_header(file)["data"])
                    for status in [os.stat(part)])


def is_made_from(image, source):
    """Whether the crop in a file was made from that, by its own comment."""
    try:
        with open_image(image) as opened_image:
            return opened_image.info.get("comment") == source
    except NotAnImage:
        return False


def sample(candidates, negatives, seed):
    """All nodules and `negatives` times as many of the others, at random, in the file's order."""
    nodules, others = np.flatnonzero(candidates.truth == 1), np.flatnonzero(candidates.truth == 0)
    count = min(negatives * len(nodules), len(others))
    drawn = np.random.RandomState(seed).choice(others, count, replace=False)
    return candidates.select(np.sort(np.concatenate([nodules, drawn])))


def test_scans(candidates, share, seed):
    """The names of the scans for testing: whole scans at random, until they hold `share` of the nodules."""
    scans = np.random.RandomState(seed).permutation(np.unique(candidates.scan))
    nodules = {name: 0 for name in scans}
    for name in candidates.scan[candidates.truth == 1]:
        nodules[name] += 1
    held = np.cumsum([0, *(nodules[name] for name in scans)])
    return set(scans[:-1][held[:-2] < share * held[-1]])  # the last scan stays in the training set


def crop(volume, point):
    """uint8 (SIDE, SIDE): the axial crop of a SimpleITK image around a point in millimetres, which becomes the pixel
    [SIDE // 2, SIDE // 2]; None if the point is outside. Beyond the borders there is air."""
    x, y, z = volume.TransformPhysicalPointToIndex([float(number) for number in point])
    width, height, depth = volume.GetSize()
    if not (0 <= x < width and 0 <= y < height and 0 <= z < depth):
        return None
    half = SIDE // 2
    left, top = max(x - half, 0), max(y - half, 0)
    right, bottom = min(x - half + SIDE, width), min(y - half + SIDE, height)
    found = SimpleITK.GetArrayViewFromImage(volume)[z, top:bottom, left:right]
    units = np.full((SIDE, SIDE), AIR, np.float32)
    units[top - y + half:bottom - y + half, left - x + half:right - x + half] = found
    return np.round((units.clip(AIR, DENSE) - AIR) * (255 / (DENSE - AIR))).astype(np.uint8)


def prepare(ct, candidates, out, negatives=5, seed=0):
    """Writes the crops of `candidates` (Candidates) and the two lists; returns [(scan or image, what is wrong)]."""
    scans = {file.stem: file for file in sorted(ct.glob("subset*/*.mhd"))}
    if not scans:
        raise UserError(f"--ct {ct}: no subset*/*.mhd in it")
    wrong = [(name, "no .mhd file") for name in np.unique(candidates.scan) if name not in scans]
    candidates = candidates.select(np.isin(candidates.scan, list(scans)))
    if not candidates.truth.any():
        raise UserError(f"--ct {ct}: none of its {len(scans)} scans has a nodule among the candidates")
    candidates = sample(candidates, negatives, seed)
    for_test = test_scans(candidates, TEST_SHARE, seed)
    for split in ("train", "test"):
        (out / "LUNA16" / "data" / split).mkdir(parents=True, exist_ok=True)
    lists = {"train_file.csv": [], "val_file.csv": []}
    for name in tqdm(np.unique(candidates.scan), "scans", disable=None):
        split, rows = ("test", lists["val_file.csv"]) if name in for_test else ("train", lists["train_file.csv"])
        volume, mine = None, candidates.select(candidates.scan == name)
        try:
            known_by = stamp(scans[name])
        except UserError as error:
            wrong.append((name, f"cannot be read: {error}"))
            continue
        for row, point, truth in zip(mine.row, mine.point, mine.truth, strict=True):
            image = f"LUNA16/data/{split}/image_{row}.jpg"
            source = f"{name} {' '.join(map(repr, point.tolist()))} {known_by}".encode()
            if not is_made_from(out / image, source):
                try:
                    volume = volume or read_scan(scans[name])
                except UserError as error:
                    wrong.append((name, f"cannot be read: {error}"))
                    break
                pixels = crop(volume, point)
                if pixels is None:
                    wrong.append((f"image_{row}", f"outside its scan {name}"))
                    continue
                replace_file(out / image, lambda file, pixels=pixels, source=source: Image.fromarray(pixels).save(
                    file, "JPEG", quality=95, comment=source))
            rows.append(f"/{image},{truth}\n")
    for name, rows in lists.items():
        replace_file(out / name, lambda file, rows=rows: file.writelines(rows), "w")
    replace_file(out / "left_out.csv", lambda file: csv.writer(file).writerows([("name", "why"), *wrong]), "w", newline="")
    echo(f"{len(lists['train_file.csv'])} crops to train and {len(lists['val_file.csv'])} to test are in {out}")
    return wrong


def main(arguments=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", type=Path, required=True, metavar="DIR", help="folder with subset0/ ... of the challenge")
    parser.add_argument("--candidates", type=Path, required=True, metavar="FILE", help="the challenge's candidates.csv")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make; main.py's --path")
    parser.add_argument("--negatives", type=whole(1), default=5, help="for each nodule (default: 5)")
    parser.add_argument("--seed", type=whole(0, 2**32 - 1), default=0, help="of the sample and the split (default: 0)")
    options = parser.parse_args(arguments)
    folder_at(options.ct, "--ct")
    candidates = read_candidates(options.candidates)
    try:
        wrong = prepare(options.ct, candidates, options.out, options.negatives, seed=options.seed)
    except OSError as error:
        raise UserError(f"--out {options.out}: cannot be written to ({error.strerror})") from None
    if wrong:
        echo(f"{len(wrong)} scans or candidates are missing or broken, all in {options.out / 'left_out.csv'}:",
             *(f"  {name}: {why}" for name, why in wrong[:5]), *["  ..."] * (len(wrong) > 5))


if __name__ == "__main__":
    launch(main)
