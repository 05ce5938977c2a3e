"""Users' items: a folder of images, a table or array of features, a table of texts; and what turns them into a network's
inputs, kept with the model as plain containers and tensors."""
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from common.data.decoding import NotAnImage, decode, decode_into, eight_bits, open_image
from common.data.features import FeatureSet
from common.data.images import IMAGENET, Augmentation, ImageSet
from common.data.item_names import FILE_NAMES, find_items
from common.data.layouts import ROWS, TASK, find_column
from common.data.opening import MB, folder_at, read_array, read_bytes
from common.data.tables import header_of, read_columns, read_numbers
from common.names import FITS
from common.system.errors import UserError, warn

TEXT = ("text", "sentence", "document", "content", "body", "tweet", "comment", "question")
LARGEST = 64  # pixels: larger images are made as small by default: the cost goes with the square
SAMPLE = 500  # images that their size, mode, mean and deviation are chosen by
WORDS, TOPICS = 20_000, 128  # of texts: the words and pairs of words counted, the numbers made of them
RUN_PICTURES = ("curves.png", "confusion.png", "memorization.png", "annotator_error.png")
GREY = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Source:
    """N items as the user keeps them. kind: images (raw: their paths), features (raw: float64 (N, F)), texts (raw: str) or
    answers (raw: their names, all that is known of them); origin: the file or folder; columns: the features' names, [] where
    they have none."""
    kind: str
    origin: str
    names: list
    raw: object
    columns: list

    def __len__(self):
        return len(self.names)

    def select(self, items):
        """These items (int array (K,)), in their order."""
        raw = self.raw[items] if self.kind == "features" else [self.raw[i] for i in items]
        return Source(self.kind, self.origin, [self.names[i] for i in items], raw, self.columns)

    def find(self, names):
        """int array: which item each name means, as item_names.find_items says, -1 for none and SEVERAL for more than one.
        """
        return find_items(self.names, names, FILE_NAMES if self.kind == "images" else FILE_NAMES[:1])

    def call(self, index, names):
        """The Source under the names by which its items (int array) were found. The others are called in the same way, if
        there is one way and no two would have one name."""
        names = dict(zip(index.tolist(), names, strict=True))
        called = self.names
        for key in FILE_NAMES:
            ours = [key(name) for name in self.names]
            if len(set(ours)) == len(ours) and all(ours[i] == name for i, name in names.items()):
                called = ours
                break
        return replace(self, names=[names.get(i, name) for i, name in enumerate(called)])


def read_source(images=None, features=None, texts=None, items=None):
    """The Source of the one of --images, --features and --texts that is given. Raises UserError for bad input."""
    given = [name for name, value in (("images", images), ("features", features), ("texts", texts)) if value]
    if len(given) != 1:
        raise UserError(f"{' and '.join(f'--{name}' for name in given) or 'no items'}: expected one of --images DIR, "
                        "--features FILE and --texts FILE")
    if items and not (features and features.endswith(".npy")):
        raise UserError(f"--items {items}: names the rows of --features FILE.npy; the names are elsewhere here")
    source = _images(images) if images else _texts(texts) if texts else _features(features, items)
    twice = sorted({name for name, count in zip(*np.unique(source.names, return_counts=True), strict=True) if count > 1})
    if twice:
        where = "" if not features or items else f" in its first column, {header_of(features)[0]!r}" * (
            not find_column(header_of(features), TASK))
        more = ": is there a column of the items' names, called task?" if where else ""
        raise UserError(f"{items or source.origin}: {str(twice[0])!r} more than once{where}; expected each item once{more}")
    return source


def _images(folder):
    root = folder_at(folder, "--images", "; expected image files")
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = sorted(path for path in _files(root) if path.suffix.lower() in endings and path.is_file())
    if not files:
        raise UserError(f"--images {folder}: no image files in it")
    return Source("images", folder, [path.relative_to(root).as_posix() for path in files], files, [])


def _files(root):
    """Yields the paths in a folder, but for what is hidden and for the pictures that a run has left."""
    for folder, folders, names in os.walk(root):
        if "config.json" in names and ("checkpoint.pt" in names or "summary.json" in names):
            names = [name for name in names if name not in RUN_PICTURES]
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _features(file, items):
    if file.endswith(".npy"):
        array = read_array(file)
        if array.ndim < 2 or not array.size:
            raise UserError(f"{file}: shape {array.shape}; expected numbers, (items, features)")
        names, array = [str(row) for row in range(len(array))], array.reshape(len(array), -1).astype(np.float64)
        if items:
            names = _names(items, len(array), file)
        source = Source("features", file, names, array, [])
    else:
        header = header_of(file)
        task = find_column(header, TASK) or header[0]
        rows = [name for name in header[:1] if name in ROWS and name != task]
        names, array, columns = read_numbers(file, task, without=rows)
        if not array.size:
            raise UserError(f"{file}: {len(array)} rows of {array.shape[1]} features; expected items with features")
        source = Source("features", file, names, array, columns)
    bad = np.argwhere(~np.isfinite(source.raw))
    if len(bad):
        row, column = bad[0]
        which = list(dict.fromkeys(str(source.columns[k] if source.columns else k) for k in bad[:, 1]))
        shown = ", ".join(which[:5]) + ", ..." * (len(which) > 5)
        raise UserError(f"{file}: feature {which[0]} of item {source.names[row]!r} is {source.raw[row, column]}, {len(bad)} "
                        f"such in all, in {shown}; expected finite numbers: impute them (as by the feature's median), or "
                        "drop these features or items")
    return source


def _names(file, rows, features):
    try:
        text = read_bytes(file, 512 * MB, f"--items {file}").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"--items {file}: not UTF-8 text") from None
    names = [line.strip() for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    if len(names) == rows + 1 and find_column(names[:1], TASK):
        names = names[1:]
    if len(names) != rows:
        raise UserError(f"--items {file}: {len(names)} names; expected one on a line for each of the {rows} rows of "
                        f"{features}")
    return names


def _texts(file):
    header = header_of(file)
    others = [name for name in header if name != find_column(header, TEXT)]
    task = (find_column(others, TASK) or find_column(header, TASK)  # a question may be either
            or next((name for name in others if not find_column([name], TEXT)), header[0]))
    text = find_column([name for name in header if name != task], TEXT)
    if text is None and len(header) == 2:
        text = next(name for name in header if name != task)
    if text is None:
        raise UserError(f"{file}, line 1: columns {', '.join(header)}; expected task and text")
    columns, lines = read_columns(file, (task, text))
    names, texts = ([column.values[code] for code in column.codes] for column in (columns[task], columns[text]))
    if "" in names:
        raise UserError(f"{file}, line {lines[names.index('')]}: nothing in column {task!r}; expected the item's name")
    return Source("texts", file, names, texts, [])


# --- from items to a network's inputs -------------------------------------------------------------------------------

def fit(source, train, size=None, how="crop", color=False, imagenet=False):
    """The preprocessing, a dictionary of plain containers and tensors, chosen by the training items (int array) of the
    Source. size: an image's side in pixels; how: crop, stretch or pad; color: three channels even of grey images;
    imagenet: normalised as torchvision's weights expect."""
    if source.kind == "images":
        return _fit_images(source, train, size, how, color, imagenet)
    return _fit_features(source, source.raw[train]) if source.kind == "features" else _fit_texts(source, train)


def apply(source, preprocessing):
    """(inputs, readable): an ImageSet or FeatureSet of all items, and bool (N,), which of them could be read."""
    source = _as_trained(source, preprocessing)
    if source.kind == "images":
        mode = "RGB" if preprocessing["channels"] == 3 else "L"
        pixels, readable = decode(source.raw, preprocessing["size"], mode, FITTERS[preprocessing["fit"]])
        return ImageSet(pixels, tuple(preprocessing["mean"]), tuple(preprocessing["deviation"]),
                        Augmentation(flip=True, rotation=10)), readable
    if source.kind == "features":
        mean, deviation = preprocessing["mean"].numpy(), preprocessing["deviation"].numpy()
        with np.errstate(over="ignore", invalid="ignore"):
            values = ((source.raw - mean) / deviation).astype(np.float32)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            raise UserError(f"{source.origin}: feature {source.columns[column] if source.columns else column} of item "
                            f"{source.names[row]!r} is {source.raw[row, column]}, too far from the others for float32; "
                            "expected numbers like those that the model is trained on")
    else:
        values = _topics(source.raw, preprocessing)
    return FeatureSet(torch.from_numpy(values)), np.ones(len(source), bool)


def _as_trained(source, preprocessing):
    """The Source with its features in the order that the preprocessing has them in. Raises UserError where the items are not
    of its kind, or the features others."""
    if source.kind != preprocessing["kind"]:
        raise UserError(f"--{source.kind} {source.origin}: the model is for {preprocessing['kind']}")
    if source.kind != "features":
        return source
    width = len(preprocessing["mean"])
    if source.raw.shape[1] != width:
        raise UserError(f"{source.origin}: {source.raw.shape[1]} features; expected {width}, as the model was trained on")
    expected = preprocessing["columns"]
    if not source.columns or not expected or source.columns == expected:
        return source
    place = {name: k for k, name in enumerate(source.columns)}
    missing = [name for name in expected if name not in place]
    if missing:
        other = next(name for name in source.columns if name not in expected)
        raise UserError(f"{source.origin}: there is a feature {other!r}, and no {missing[0]!r}, which the model was trained "
                        "on")
    return replace(source, raw=source.raw[:, [place[name] for name in expected]], columns=expected)


def _sample(items):
    return np.random.default_rng(0).permutation(items)[:SAMPLE]


def _fit_images(source, train, size, how, color, imagenet):
    sample = [source.raw[i] for i in _sample(train)]
    sides, modes = [], set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Pillow finds odd in a file
        for path in sample:
            try:
                with open_image(path) as image:
                    sides.append(min(image.size))
                    modes.add(image.mode)
            except NotAnImage:
                continue  # told of when all are decoded
    size = size or int(min(np.median(sides), LARGEST)) if sides else LARGEST
    channels = 1 if modes and modes <= set(GREY) and not color else 3
    if imagenet:
        mean, deviation = IMAGENET
    else:
        pixels, readable = decode_into(np.zeros((len(sample), size, size, channels), np.uint8), np.zeros(len(sample), bool),
                                       None, sample, size, "RGB" if channels == 3 else "L", FITTERS[how])
        mean, deviation = _moments(pixels[readable]) if readable.any() else ([.5] * channels, [.25] * channels)
    return {"kind": "images", "size": size, "channels": channels, "fit": how, "mean": [float(m) for m in mean],
            "deviation": [max(float(d), 1e-3) for d in deviation]}


def _moments(pixels):
    """(mean, deviation) of the channels, float64 (K,), of uint8 images (N, H, W, K) in parts of 255: exact, of how often
    there is each of the 256 values."""
    counts = np.zeros((pixels.shape[3], 256))
    for image in pixels:
        counts += [np.bincount(channel.ravel(), minlength=256) for channel in image.transpose(2, 0, 1)]
    values = np.arange(256) / 255
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ values
    return mean, np.sqrt((share * (values - mean[:, None]) ** 2).sum(1))


def _fit_features(source, values):
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = values.mean(0), values.std(0)
    far = np.flatnonzero(~np.isfinite(mean + deviation))
    if len(far):
        raise UserError(f"{source.origin}: feature {source.columns[far[0]] if source.columns else far[0]} goes up to "
                        f"{np.abs(values[:, far[0]]).max()}; expected numbers whose squares can be summed")
    constant = np.flatnonzero(deviation <= 1e-12 * np.maximum(1, np.abs(mean)))
    if len(constant) == values.shape[1]:
        raise UserError(f"{source.origin}: every feature is constant over the items with answers; "
                        "expected features that vary")
    if len(constant):
        name = source.columns[constant[0]] if source.columns else constant[0]
        warn(f"{source.origin}: {len(constant)} features are constant, {name} the first of them; they say nothing")
    return {"kind": "features", "columns": source.columns, "mean": torch.from_numpy(mean),
            "deviation": torch.from_numpy(np.where(np.isin(np.arange(len(mean)), constant), 1., deviation))}


def _vectorizer(**how):
    from sklearn.feature_extraction.text import TfidfVectorizer  # a second that only texts need
    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **how)


def _fit_texts(source, train):
    from sklearn.decomposition import TruncatedSVD
    texts = [source.raw[i] for i in train]
    vectorizer = _vectorizer(max_features=WORDS, min_df=2 if len(texts) >= 200 else 1)
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError:
        raise UserError(f"{source.origin}: the texts hold no words; expected text to learn from") from None
    topics = min(TOPICS, counts.shape[1] - 1, counts.shape[0] - 1)
    if topics < 1:
        raise UserError(f"{source.origin}: {counts.shape[1]} words in {counts.shape[0]} texts; expected more to learn from")
    svd = TruncatedSVD(topics, random_state=0).fit(counts)
    return {"kind": "texts", "vocabulary": vectorizer.get_feature_names_out().tolist(),
            "idf": torch.from_numpy(vectorizer.idf_), "components": torch.from_numpy(svd.components_)}


def _topics(texts, preprocessing):
    """float32 (N, K): the texts' topics, of length sqrt(K), so that a number is about one in size; 0 without a known
    word."""
    vectorizer = _vectorizer(vocabulary=preprocessing["vocabulary"])
    vectorizer.idf_ = preprocessing["idf"].numpy()
    values = vectorizer.transform(texts) @ preprocessing["components"].numpy().T
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.maximum(length, 1e-9) * np.sqrt(values.shape[1])).astype(np.float32)


def _ready(image, size, mode):
    """An opened image as it is meant: turned as its camera says, of 8 bits, over white where it is transparent. A large
    JPEG is decoded no larger than it is needed."""
    image.draft(mode, (size, size))
    ImageOps.exif_transpose(image, in_place=True)
    image = eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)  # a copy of a large image is large


def crop(image, size, mode):
    """The middle of an image, as large a square as there is, as a square of `size` pixels."""
    return ImageOps.fit(_ready(image, size, mode), (size, size), Image.Resampling.BILINEAR)


def stretch(image, size, mode):
    """All of an image, stretched to a square."""
    return _ready(image, size, mode).resize((size, size), Image.Resampling.BILINEAR)


def pad(image, size, mode):
    """All of an image in its own proportions, black beside it."""
    return ImageOps.pad(_ready(image, size, mode), (size, size), Image.Resampling.BILINEAR)


FITTERS = dict(zip(FITS, (crop, stretch, pad), strict=True))
