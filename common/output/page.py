"""report.html: a run's results as one file that needs nothing else, for a desk and a phone."""
import base64
import csv
import heapq
import io
import itertools
from pathlib import Path

import jinja2
import numpy as np
import torch
from markupsafe import Markup
from PIL import Image

from common.data.images import ImageSet
from common.output.console import ranked
from common.output.plots import shorten

DOUBTS, MATRICES, ANNOTATORS, NEXT = 24, 12, 60, 10  # shown: items, matrices, rows of annotators, items to ask next
SHARES = 30  # classes whose share is shown
MILD = "", "no labels", "too few labels to tell"  # flags of which nothing follows
TABLES = "labels.csv", "annotators.csv", "agreement.csv", "next.csv", "confusion.csv", "metrics.csv"
LOW_ALPHA = .667  # Krippendorff's alpha below which even tentative conclusions are doubtful (Krippendorff 2004)
LARGEST_MATRIX = 12  # classes: larger matrices are in confusion.png alone
THUMBNAIL, TEXT, NAME = 96, 400, 60  # pixels; characters of a text and of a name


def write(file, folder, summary, dataset, train, outvoted):
    """The page of a run's folder (a path), which holds the run's other files already. train: the Items of labels.csv;
    outvoted: bool (N,), where the label is not what most of the crowd says."""
    curves = folder / "curves.png"
    how = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}  # as replace_file writes them
    with open(folder / "labels.csv", **how) as labels, open(folder / "annotators.csv", **how) as annotators, \
            open(folder / "next.csv", **how) as upcoming, np.load(folder / "confusion.npz") as confusion:
        file.write(page(folder.name, summary, labels=csv.DictReader(labels), annotators=list(csv.DictReader(annotators)),
                        upcoming=list(itertools.islice(csv.DictReader(upcoming), NEXT)),
                        curves=curves.read_bytes() if curves.exists() else None, classes=dataset.class_names,
                        names=dataset.annotator_names, crowd=train.crowd, outvoted=outvoted.tolist(),
                        confusion=confusion["estimated"], show=thumbnails(train.inputs, dataset.texts, train.names),
                        has_model=(folder / "model.pt").exists(),
                        tables=[name for name in TABLES if (folder / name).exists()]))


def page(title, summary, *, labels, annotators, upcoming, curves, classes, names, crowd, outvoted, confusion, show,
         has_model, tables):
    """The page, as text.

    summary: summary.json's dictionary; labels: the rows of labels.csv as dictionaries, any iterable, the items of `crowd`
    (CrowdLabels) in their order; outvoted: N bools; annotators: those of annotators.csv, a list; upcoming: the first of
    next.csv, a list; curves: the bytes of curves.png, or None; classes, names: the classes'
    and the annotators' names; confusion: array (M, C, C), rows the true class; show(items) gives for a list of items'
    numbers a list of {"picture": data URI} or {"text": text}, or of {}; has_model: whether the run leaves model.pt; tables:
    the names of its CSV files.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                     trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": _percent, "cell": _cell, "title": lambda text: text.replace("_", " "),
                            "short": lambda text, most=NAME: shorten(str(text), most), "bdi": _isolated}
    doubts = most_doubtful(labels, outvoted, DOUBTS)
    shown = show([item for item, _ in doubts])
    items = [{"item": row["item"], "confidence": row.get("confidence"), "said": answers, **picture,
              **{key: _name(row.get(key), classes) for key in ("label", "truth")}}
             for (_, row), answers, picture in zip(
                 doubts, who_said_what(crowd, [item for item, _ in doubts], classes, names), shown, strict=True)]
    counts = np.bincount(crowd.annotator.cpu().numpy(), minlength=crowd.annotators)
    active = np.argsort(-counts, kind="stable")
    small = len(classes) <= LARGEST_MATRIX
    matrices = [(names[m], int(counts[m]), confusion[m]) for m in active[:MATRICES] if counts[m]] if small else []
    flagged = [m for m in active[ANNOTATORS:] if annotators[m].get("flag", "") not in MILD]
    rows = [_short_row(row) for row in sorted((annotators[m] for m in [*active[:ANNOTATORS], *flagged[:ANNOTATORS]]),
                                              key=lambda row: -float(row.get("information_bits") or -1))]
    return environment.get_template("report.html").render(
        title=title, summary=summary, methods=ranked(summary["methods"]), scored=_scored(summary), items=items,
        ranked=any("held_out_log_likelihood" in method for method in summary["methods"].values()), classes=classes,
        annotators=rows, columns=_columns(rows), next=upcoming,
        agreements=_agreements(summary), todo=what_to_do(summary, has_model), test=_test_scores(summary, classes),
        label_shares=list(zip(classes, summary.get("label_shares", ()), strict=False))[:SHARES],
        hidden=len(annotators) - len(rows), matrices=matrices, mild=MILD, tables=tables,
        curves=_data_uri(curves, "png") if curves else None,
        known=[key for key in ("items", "labels", "annotators") if key in summary])


def what_to_do(summary, has_model):
    """Sentences: what a person should do next, by what the summary says of the crowd. has_model: the run leaves model.pt."""
    flags = summary.get("flags", {})
    serious = {flag: count for flag, count in flags.items() if flag not in MILD}
    lines = []
    if serious:
        counts = ", ".join(f"{count} {flag}" for flag, count in serious.items())
        lines.append(f"Look at the answers of the flagged annotators ({counts}) before you rely on them. A flag is a "
                     "hint, not a proof.")
    alpha = (summary.get("agreement") or {}).get("krippendorff_alpha")
    if alpha and alpha["value"] < LOW_ALPHA:
        lines.append(f"Agreement is low (Krippendorff's alpha {alpha['value']:.2f}; {LOW_ALPHA} is usually asked for). "
                     "See in the matrices below which classes annotators exchange, and make the instructions clearer there.")
    if summary.get("outvoted"):
        lines.append(f"{summary['outvoted']} labels have fewer votes than another class. They come first among the items "
                     "most worth a look.")
    lines.append("Ask for one more answer to the first items of next.csv: these answers are worth most.")
    if summary.get("label_accuracy") is None:
        lines.append("The accuracy of the labels is not known. Check some fifty random items by hand and give them as "
                     "--truth.")
    if has_model:
        lines.append("Label new items with the classifier: python3 OwnData/predict.py RUN, with --images, --features or "
                     "--texts. RUN is the folder of this page.")
    return lines


def _test_scores(summary, classes):
    """[{"name", "counts", "recall", "precision"}] of each true class by summary's test_confusion; [] without one."""
    counts = np.array(summary.get("test_confusion") or np.zeros((0, 0)), int)
    if not len(counts) or len(counts) > LARGEST_MATRIX:
        return []
    hits, items, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    return [{"name": classes[c], "counts": counts[c].tolist(), "recall": hits[c] / items[c] if items[c] else None,
             "precision": hits[c] / predicted[c] if predicted[c] else None} for c in range(len(counts))]


def most_doubtful(rows, outvoted, count):
    """[(item's number, row)]: those where the label is not what most of the crowd says first, the least sure of them before
    the others; then the least sure. rows: those of labels.csv; outvoted: a bool for each."""
    def doubt(entry):
        item, row = entry
        return not outvoted[item], float(row.get("confidence") or 1)
    return heapq.nsmallest(count, enumerate(rows), key=doubt)


def who_said_what(crowd, items, classes, names):
    """[[(class, [annotators' names])]] for each of the items (a list of numbers), the class that most say first."""
    chosen = crowd.select(torch.tensor(items, dtype=torch.int64, device=crowd.offsets.device))
    bounds = chosen.offsets.tolist()
    annotator, label = chosen.annotator.tolist(), chosen.label.tolist()
    found = []
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):  # of the few items that the page shows
        by_class = {}
        for entry in range(start, stop):
            by_class.setdefault(classes[label[entry]], []).append(names[annotator[entry]])
        found.append(sorted(by_class.items(), key=lambda pair: -len(pair[1])))
    return found


def thumbnails(inputs, texts, names):
    """page's `show` of items (ImageSet or FeatureSet) under their names; texts: {name: text}, where they are texts."""
    pictures = inputs if isinstance(inputs, ImageSet) else getattr(inputs, "pictures", None)

    def show(items):
        if pictures is not None:
            images = pictures.raw(torch.tensor(items, dtype=torch.int64)).cpu().numpy()
            return [{"picture": picture(image)} for image in images]
        return [{"text": _cut(texts[names[item]])} if names[item] in texts else {} for item in items]
    return show


def picture(pixels):
    """A data URI of a uint8 array (H, W, K), enlarged to a thumbnail's size or reduced to it."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    size = [max(1, round(side * THUMBNAIL / max(image.size))) for side in image.size]
    image = image.resize(size, Image.Resampling.NEAREST if max(image.size) < THUMBNAIL // 2 else Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if image.mode == "L" and max(pixels.shape) < THUMBNAIL // 2:
        image.save(file, "PNG", optimize=True)
        return _data_uri(file.getvalue(), "png")
    image.save(file, "JPEG", quality=85)
    return _data_uri(file.getvalue(), "jpeg")


def _data_uri(content, kind):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _cut(text):
    return text if len(text) <= TEXT else text[:TEXT].rsplit(" ", 1)[0] + " ..."


def _scored(summary):
    """Which scores the methods have: {heading: function of a method's summary}, those alone that one of them has."""
    def kept(method):
        return method.get("selected") or method.get("last") or {}
    scores = {"test accuracy": lambda method: kept(method).get("test_accuracy"),
              "test AUC": lambda method: kept(method).get("test_auc"),
              "label accuracy": lambda method: method.get("train_label_accuracy")}
    methods = summary["methods"].values()
    return {name: value for name, value in scores.items() if any(value(method) is not None for method in methods)}


def _name(label, classes):
    """A class's name where the file has its number."""
    return classes[int(label)] if label not in classes and (label or "").isdigit() else label


def _short_row(row):
    """A row of annotators.csv with the interval beside the accuracy, and the share beside the most common label."""
    short = {key: _cell(value, key) for key, value in row.items()}
    for key, (more, template) in {"estimated_accuracy": (("accuracy_low", "accuracy_high"), "{} ({} to {})"),
                                  "common_label": (("common_share",), "{} ({})")}.items():
        others = [short.pop(name, "") for name in more]
        if short.get(key) and all(others):
            short[key] = template.format(short[key], *others)
    return short


def _columns(rows):
    """The columns of annotators.csv in which something stands."""
    return [name for name in (rows[0] if rows else ()) if any(row[name] not in ("", None) for row in rows)]


def _agreements(summary):
    """[(name, {"value", "low", "high"})] of the coefficients of the whole crowd that there are."""
    names = {"krippendorff_alpha": "Krippendorff's alpha", "fleiss_kappa": "Fleiss' kappa"}
    return [(names[key], value) for key, value in summary.get("agreement", {}).items() if value]


def _isolated(text):
    """A short text that does not change the direction of what follows; nothing for no text."""
    return Markup("<bdi>{}</bdi>").format(shorten(str(text), NAME)) if text not in ("", None) else ""


def _percent(share):
    return "" if share is None else f"{100 * share:.1f}"


def _cell(value, column=""):
    """A cell of a csv file as it is read: shares of one as such, long fractions short."""
    if column in ("annotator", "common_label", "flag"):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return "" if value is None else value
    return f"{int(number)}" if number == int(number) and "." not in str(value) else f"{number:.2f}".replace("-0.00", "0.00")
