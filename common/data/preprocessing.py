"""What turns users' items into a network's inputs, chosen by the training items and kept with the model as plain containers
and tensors."""
import warnings
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch

from common.data.decoding import NotAnImage, decode, decode_into, has_wide_colours, is_wide, open_image
from common.data.features import FeatureSet
from common.data.images import Augmentation, ImageSet
from common.data.scans import is_scan
from common.data.squares import Squaring
from common.system.errors import UserError, warn

LARGEST = 64  # pixels: larger images are made as small by default: the cost goes with the square
SAMPLE = 500  # images that their size, mode, mean and deviation are chosen by
PIXELS, TAILS = 10_000, (.5, 99.5)  # of each image of more than 8 bits: those looked at; percent at the ends of the range
WORDS, TOPICS = 20_000, 128  # of texts: the words and pairs of words counted, the numbers made of them
GREY = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class ImageSummary:
    """What a sample of images is like. sizes: [(width, height)]; modes: those of Pillow that occur; window: the range
    (low, high) of the values in images of more than 8 bits a pixel, or None where there are none; scans, pages,
    wide_colours: how many are scans or arrays, are TIFFs of several pages, have colours of 16 bits."""
    sizes: list
    modes: set
    window: tuple | None
    scans: int = 0
    pages: int = 0
    wide_colours: int = 0

    @property
    def grey(self):
        """Whether no image has colours."""
        return bool(self.modes) and self.modes <= set(GREY)

    @property
    def side(self):
        """The median of the shorter sides, or None where no image could be opened."""
        return int(np.median([min(size) for size in self.sizes])) if self.sizes else None

    def describe(self, preprocessing):
        """What is done to the images, in words."""
        sizes, counts = np.unique(self.sizes or [(0, 0)], axis=0, return_counts=True)
        width, height = sizes[counts.argmax()]
        others = f" (and {len(sizes) - 1} other sizes)" if len(sizes) > 1 else ""
        side, fitting = preprocessing["size"], preprocessing["fit"]
        done = {"crop": "cut to the middle square", "pad": "nothing cut away, black beside",
                "stretch": "nothing cut away, stretched"}
        square = all(width == height for width, height in sizes)
        text = f"images: {width} x {height}{others} -> {side} x {side}, {'nothing cut away' if square else done[fitting]}"
        if preprocessing["window"]:
            low, high = preprocessing["window"]
            text += f"; of more than 8 bits a pixel, {low:g} to {high:g} become black to white (--window LOW HIGH)"
        if self.pages and preprocessing["slice"] is None:
            text += f"; {self.pages} have several pages, of which the first is used (--slice K)"
        if self.wide_colours:
            text += f"; {self.wide_colours} have 16 bits a colour, of which the upper 8 are used"
        return text

    def warn_of_unused(self, window, plane):
        """Prints which of --window and --slice has no effect."""
        if window and not self.window:
            warn("--window: has no effect, no image has more than 8 bits a pixel")
        if plane is not None and not self.scans + self.pages:
            warn("--slice: has no effect, no image is a volume or has several pages")


def summarise_images(source, train, plane=None):
    """The ImageSummary of the training items (int array) of a Source of images."""
    sizes, modes, values, counts = [], set(), [], Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Pillow finds odd in a file
        for item in np.sort(_sample(train)):
            try:
                with open_image(source.raw[item], plane) as image:
                    if is_wide(image):
                        values.append(_some(np.asarray(image, np.float32)))
                    sizes.append(image.size)
                    modes.add(image.mode)
                    counts["scans"] += is_scan(source.raw[item])
                    counts["pages"] += image.format == "TIFF" and image.n_frames > 1
                    counts["wide_colours"] += has_wide_colours(image)
            except NotAnImage:
                continue  # reported when all are decoded
    return ImageSummary(sizes, modes, _range(np.concatenate(values)) if values else None, **counts)


def _some(values):
    """At most PIXELS of the finite values of an image, evenly spaced."""
    values = values[np.isfinite(values)]
    return values[::max(1, len(values) // PIXELS)]


def _range(values):
    """(low, high): where all but the tails of the values are."""
    low, high = np.percentile(values, TAILS) if len(values) else (0, 1)
    return float(low), float(high if high > low else low + 1)


def fit(source, train, **choices):
    """The preprocessing, a dictionary of plain containers and tensors, chosen by the training items (int array) of the
    Source. choices: for images, see fit_images."""
    if source.kind == "images":
        return fit_images(source, train, **choices)
    return _fit_features(source, source.raw[train]) if source.kind == "features" else _fit_texts(source, train)


def apply(source, preprocessing, cache=None):
    """(inputs, readable): an ImageSet or FeatureSet of all items, and bool (N,), which of them could be read. cache:
    --cache. A backbone's features are networks.frozen's to make."""
    source = as_trained(source, preprocessing)
    if source.kind == "images":
        mode = "RGB" if preprocessing["channels"] == 3 else "L"
        pixels, readable = decode(source.raw, preprocessing["size"], mode, _squaring(preprocessing), cache)
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


def as_trained(source, preprocessing):
    """The Source with its features in the order that the preprocessing has them in. Raises UserError where the items are not
    of its kind, or the features others."""
    if source.kind != preprocessing["kind"]:
        raise UserError(f"--{source.kind} {source.origin}: the model is for {preprocessing['kind']}; "
                        f"give it --{preprocessing['kind']}")
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


def _squaring(preprocessing):
    window = preprocessing["window"]
    return Squaring(preprocessing["fit"], window and tuple(window), preprocessing["slice"])


def fit_images(source, train, summary=None, size=None, fitting="pad", color=False, scale=None, window=None, plane=None):
    """The preprocessing of images.

    summary: the ImageSummary of them. size: an image's side in pixels, by default theirs, at most LARGEST; fitting:
    crop, stretch or pad; color: three channels even of grey images; scale: (mean, deviation) of the pixels where weights
    expect them, by default the images' own; window: the range (low, high) of images of more than 8 bits a pixel, by default
    that of the summary; plane: the number of the slice, of volumes.
    """
    summary = summary or summarise_images(source, train, plane)
    size = size or min(summary.side or LARGEST, LARGEST)
    channels = 1 if summary.grey and not color else 3
    window = summary.window and tuple(window or summary.window)
    made = {"kind": "images", "size": size, "channels": channels, "fit": fitting, "window": window and list(window),
            "slice": plane, "backbone": None}
    mean, deviation = scale or _scale_of([source.raw[i] for i in _sample(train)], size, channels, _squaring(made))
    return made | {"mean": [float(m) for m in mean], "deviation": [max(float(d), 1e-3) for d in deviation]}


def _scale_of(files, size, channels, squaring):
    """(mean, deviation) of the channels of these images."""
    pixels, readable = decode_into(np.zeros((len(files), size, size, channels), np.uint8), np.zeros(len(files), bool), None,
                                   files, size, "RGB" if channels == 3 else "L", squaring)
    return moments(pixels[readable]) if readable.any() else ([.5] * channels, [.25] * channels)


def moments(pixels):
    """(mean, deviation) of the channels, float64 (K,), of uint8 images (N, H, W, K) scaled to [0, 1]. Computed exactly, from
    a histogram of the 256 values."""
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


def _vectorizer(**settings):
    from sklearn.feature_extraction.text import TfidfVectorizer  # a second that only texts need
    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **settings)


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
    return {"kind": "texts", "backbone": None, "vocabulary": vectorizer.get_feature_names_out().tolist(),
            "idf": torch.from_numpy(vectorizer.idf_), "components": torch.from_numpy(svd.components_)}


def _topics(texts, preprocessing):
    """float32 (N, K): the texts' topics, of length sqrt(K), so that a number is about one in size; 0 without a known
    word."""
    vectorizer = _vectorizer(vocabulary=preprocessing["vocabulary"])
    vectorizer.idf_ = preprocessing["idf"].numpy()
    values = vectorizer.transform(texts) @ preprocessing["components"].numpy().T
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.maximum(length, 1e-9) * np.sqrt(values.shape[1])).astype(np.float32)
