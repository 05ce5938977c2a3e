"""The pictures of a run."""
import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  the backend comes first

from common.methods import FORECASTER, METHODS  # noqa: E402

SHOWN = 10  # annotators in confusion.png: the most active
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6bb1", "#7f7f7f")  # told apart by all eyes


def curves(file, rows, title):
    """Test accuracy by epoch, a line for each method. rows: those of metrics.csv."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name in dict.fromkeys(row["method"] for row in rows):
        points = [(row["epoch"], 100 * row["test_accuracy"]) for row in rows if row["method"] == name]
        # a method has one colour in all pictures, and its forecaster the same, dotted
        color = PALETTE[list(METHODS).index(name.removesuffix(FORECASTER)) % len(PALETTE)]
        axes.plot(*zip(*points, strict=True), ":" if name.endswith(FORECASTER) else "-", color=color, label=name,
                  linewidth=1.8, marker="o", markersize=3)
    axes.set(xlabel="epoch", ylabel="test accuracy (%)", title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, .5), frameon=False)
    _save(figure, file)


def confusions(file, estimated, true, names, labels, title):
    """Each annotator's confusion matrix as estimated, over the true one; the most active where there are many.

    estimated, true: arrays (M, C, C), rows the true class; names: M; labels: how many labels each gave, (M,).
    """
    shown = np.sort(np.argsort(-np.asarray(labels), kind="stable")[:SHOWN])
    columns = min(len(shown), 5)
    blocks = -(-len(shown) // columns)
    figure, grid = plt.subplots(2 * blocks, columns, figsize=(1 + 1.9 * columns, .9 + 4.1 * blocks), squeeze=False,
                                layout="constrained")
    for axes in grid.flat:
        axes.axis("off")
    classes = estimated.shape[1]
    ticks = range(0, classes, max(1, -(-classes // 10)))
    for place, m in enumerate(shown):
        block, column = divmod(place, columns)
        for row, (kind, matrix) in enumerate((("estimated", estimated[m]), ("true", true[m]))):
            axes = grid[2 * block + row, column]
            axes.axis("on")
            image = axes.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
            axes.set_xticks(ticks)
            axes.set_yticks(ticks)
            axes.tick_params(labelsize=6, length=2)
            if row == 0:
                axes.set_title(names[m], fontsize=8)
            if column == 0:
                axes.set_ylabel(f"{kind}\ntrue class", fontsize=8)
            if row == 1:
                axes.set_xlabel("label", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.colorbar(image, ax=grid, shrink=.5, label="P(label | true class)")
    _save(figure, file)


def _save(figure, file):
    figure.savefig(file, format="png", dpi=130)
    plt.close(figure)
