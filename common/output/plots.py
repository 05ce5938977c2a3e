"""The pictures of a run."""
import colorsys
import warnings
import zlib

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from common.methods.registry import METHODS
from common.names import FORECASTER
from common.system.errors import printable

SHOWN = 10  # annotators in confusion.png: the most active
LONGEST_TICK = 14  # characters of a class's name beside a matrix
# distinguishable with colour blindness; black is true-label's
PALETTE = {"majority-vote": "#0072b2", "dawid-skene": "#7f7f7f", "one-coin": "#bdb76b", "crowd-layer": "#e69f00",
           "doctor-net": "#56b4e9", "aggnet": "#cc79a7", "mbem": "#8c6bb1", "trace-reg": "#a0522d", "conal": "#17a2b8",
           "union-net": "#d4a5a5", "geo-crowd-net-f": "#7cae00", "geo-crowd-net-w": "#3f6f00", "coinnet": "#b22222",
           "annot-mix": "#483d8b", "max-mig": "#009e73", "true-label": "#000000"}
KD_PALETTE = {"crowd-layer": "#6b4200", "max-mig": "#d55e00"}  # KD-Crowd on a crowd model, else a shade of the model's own


def color_of(name):
    """A method has one colour in all pictures, and its forecaster the same."""
    name = name.removesuffix(FORECASTER)
    teacher = METHODS[name].teacher
    if teacher is None:
        return PALETTE.get(name) or colorsys.hsv_to_rgb(zlib.crc32(name.encode()) / 2**32, .7, .7)  # somebody else's method
    return KD_PALETTE.get(teacher) or tuple(.55 * channel for channel in to_rgb(color_of(teacher)))


def curves(file, rows, title):
    """Test accuracy by epoch, and with two classes the AUC beside it; a line for each method, forecasters dotted,
    KD-Crowd's students dashed. rows: those of metrics.csv."""
    scores = {"test_accuracy": "test accuracy (%)", "test_auc": "test AUC (%)"}
    scores = {score: label for score, label in scores.items() if rows[0][score] is not None}
    figure = Figure(figsize=(2.5 + 5.5 * len(scores), 4.5), layout="constrained")
    panels = figure.subplots(1, len(scores), squeeze=False)
    for axes, (score, label) in zip(panels[0], scores.items(), strict=True):
        for name, stage in dict.fromkeys((row["method"], row.get("stage", 0)) for row in rows):
            points = [(row["epoch"], 100 * row[score]) for row in rows
                      if (row["method"], row.get("stage", 0)) == (name, stage) and row[score] is not None]
            style = ":" if name.endswith(FORECASTER) else "--" if stage == 1 else "-"
            axes.plot(*np.array(points).reshape(-1, 2).T, style, color=color_of(name), linewidth=1.8, marker="o",
                      markersize=3 if len(points) < 60 else 0, label=f"{name}, stage 1" if stage == 1 else name)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, .5), frameon=False)
    figure.suptitle(title)
    _save(figure, file)


def memorization(file, rows, pairs, title):
    """How much of the annotators' errors a model repeats: mean and deviation over the annotators, by epoch; a panel
    for each (crowd model, KD-Crowd) of `pairs`. rows: those of memorization.csv."""
    figure = Figure(figsize=(1 + 5 * len(pairs), 4), layout="constrained")
    panels = figure.subplots(1, len(pairs), squeeze=False, sharey=True)
    for axes, (teacher, student) in zip(panels[0], pairs, strict=True):
        for (name, stage), label in (((teacher, 0), teacher), ((student, 1), f"{student}, stage 1"),
                                     ((student, 2), f"{student}, stage 2")):
            points = [row for row in rows if (row["method"], row["stage"]) == (name, stage)]
            if not points:
                continue
            epoch, mean, deviation = (np.array([row[key] for row in points]) for key in ("epoch", "mean", "deviation"))
            color = color_of(name)
            axes.plot(epoch, mean, "--" if stage == 1 else "-", color=color, label=label, linewidth=1.8)
            if stage != 1:
                axes.fill_between(epoch, mean - deviation, mean + deviation, color=color, alpha=.12, linewidth=0)
        axes.set(xlabel="epoch of the stage", title=teacher)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=.3)
        axes.legend(loc="upper center", bbox_to_anchor=(.5, -.14), ncols=3, frameon=False, fontsize=8)
    panels[0, 0].set_ylabel("share of an annotator's errors that is repeated")
    figure.suptitle(title, fontsize=10)
    _save(figure, file)


def annotator_error(file, errors, pairs, title):
    """E_m of every annotator, sorted by the crowd model's, beside KD-Crowd's; a panel for each of `pairs`.

    errors: {method: array (M,)}.
    """
    figure = Figure(figsize=(1 + 5 * len(pairs), 4), layout="constrained")
    panels = figure.subplots(1, len(pairs), squeeze=False)
    for axes, (teacher, student) in zip(panels[0], pairs, strict=True):
        order = np.argsort(errors[teacher], kind="stable")
        order = order[np.isfinite(errors[teacher][order])]
        place = np.arange(1, len(order) + 1)
        size = max(2, min(6, 200 / len(order)))
        for name, marker in ((teacher, "o"), (student, "s")):
            mean = errors[name][order].mean()
            axes.plot(place, errors[name][order], marker, color=color_of(name), markersize=size,
                      label=f"{name}, mean {mean:.3f}")
        axes.set(xlabel=f"annotators, sorted by the error of {teacher}", title=teacher)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=.3)
        axes.legend(frameon=False, fontsize=8)
    panels[0, 0].set_ylabel("error of the confusion matrix, E\N{LATIN SUBSCRIPT SMALL LETTER M}")
    figure.suptitle(title, fontsize=10)
    _save(figure, file)


def confusions(file, estimated, true, names, labels, title, classes=None):
    """Each annotator's confusion matrix as estimated, and the true one below it where it is known; the most active
    annotators where there are many.

    estimated, true: arrays (M, C, C), rows the true class; names: M; labels: how many labels each gave, (M,); classes: the
    classes' names, or None for their numbers.
    """
    shown = np.sort(np.argsort(-np.asarray(labels), kind="stable")[:SHOWN])
    kinds = {"estimated": estimated} | ({"true": true} if np.isfinite(true[shown]).any() else {})
    count, columns = estimated.shape[1], min(len(shown), 5)
    blocks = -(-len(shown) // columns)
    ticks = range(0, count, max(1, -(-count // 10)))
    written = [shorten(str(c) if classes is None else classes[c], LONGEST_TICK) for c in ticks]
    # all matrices, each of size 1, lie on one axes: a grid of axes takes ten times as long to draw
    height = .15 * (len(kinds) - 1) + len(kinds) + .3
    figure = Figure(figsize=(2.2 + 1.9 * columns, 1.4 + 1.7 * height * blocks), layout="constrained")
    axes = figure.subplots()
    for place, m in enumerate(shown):
        block, column = divmod(place, columns)
        for row, (kind, matrices) in enumerate(kinds.items()):
            x, y = 1.1 * column, block * height + 1.15 * row
            image = axes.imshow(matrices[m], vmin=0, vmax=1, cmap="viridis", extent=(x, x + 1, y + 1, y))
            if row == 0:
                axes.text(x + .5, y - .05, shorten(names[m], 24), fontsize=8, ha="center", va="bottom")
            if column == 0:
                axes.text(-.03, y - .07, kind, fontsize=7, ha="right", va="center")
                for c, name in zip(ticks, written, strict=True):
                    axes.text(-.03, y + (c + .5) / count, name, fontsize=6, ha="right", va="center")
            if place + columns >= len(shown) and row == len(kinds) - 1:
                for c, name in zip(ticks, written, strict=True):
                    axes.text(x + (c + .5) / count, y + 1.03, name, fontsize=6, ha="center", va="top",
                              rotation=0 if classes is None else 90)
    axes.set(xlim=(0, 1.1 * columns - .1), ylim=(height * blocks - .3, 0))
    axes.axis("off")
    figure.suptitle(f"{title}\nrows: true class, columns: label", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=.5, label="P(label | true class)")
    _save(figure, file)


def shorten(text, most):
    """A text, at most `most` characters of it."""
    return text if len(text) <= most else text[:most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def bars(file, shown, methods, title):
    """Grouped bars with error bars: last-epoch test accuracy of each method in each row of the table.

    shown: {row: {method: Number}}; methods: the order of the bars.
    """
    methods = [name for name in methods if any(name in numbers for numbers in shown.values())]
    figure = Figure(figsize=(max(6, 2.5 + .22 * len(shown) * (len(methods) + 2)), 4), layout="constrained")
    axes = figure.subplots()
    width = .85 / len(methods)
    for k, name in enumerate(methods):
        places = [i for i, numbers in enumerate(shown.values()) if name in numbers]
        numbers = [list(shown.values())[i][name] for i in places]
        forecaster = name.endswith(FORECASTER)
        axes.bar([i + (k - (len(methods) - 1) / 2) * width for i in places], [100 * n.mean for n in numbers], width,
                 yerr=[100 * n.deviation for n in numbers], capsize=2, color=color_of(name), label=name, edgecolor="white",
                 alpha=.55 if forecaster else 1, hatch="///" if forecaster else None, error_kw={"linewidth": .9})
    axes.set_xticks(range(len(shown)), list(shown))
    axes.set(ylabel="test accuracy, last epoch (%)", title=title)
    axes.grid(axis="y", alpha=.3)
    axes.set_axisbelow(True)
    axes.legend(loc="center left", bbox_to_anchor=(1, .5), frameon=False)
    _save(figure, file)


def _save(figure, file):
    for text in figure.findobj(Text):  # of a folder's, a class's or an annotator's name what cannot be drawn is escaped
        text.set_parse_math(False)
        text.set_text("\n".join(map(printable, text.get_text().split("\n"))))
    with warnings.catch_warnings():  # what the font lacks is an empty box; report.html has the name
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        figure.savefig(file, format="png", dpi=130)
