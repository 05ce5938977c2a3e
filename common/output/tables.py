"""The papers' tables and figures, from the summaries of many runs: means and standard deviations over seeds."""
import csv
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from common.methods import FORECASTER, METHODS, taught
from common.output import plots

MEASURES = {  # name in table.csv: where it is in a method's summary
    "last_accuracy": ("last", "test_accuracy"), "best_accuracy": ("best", "test_accuracy"),
    "selected_accuracy": ("selected", "test_accuracy"), "last_auc": ("last", "test_auc"), "best_auc": ("best", "test_auc"),
    "train_label_accuracy": ("train_label_accuracy",), "annotator_error": ("annotator_error",), "seconds": ("seconds",),
}
TITLES = {"last_accuracy": "last epoch, test accuracy (%)", "best_accuracy": "best test epoch, test accuracy (%)",
          "selected_accuracy": "epoch selected on the validation items, test accuracy (%)",
          "last_auc": "last epoch, test AUC (%)", "best_auc": "best test epoch, its AUC (%)",
          "train_label_accuracy": "labels of the training items, accuracy (%)",
          "annotator_error": "mean error of the annotators' confusion matrices (lower is better)"}


@dataclass(frozen=True)
class Number:
    """A mean and a standard deviation (of the sample; 0 for a single seed) over `seeds` runs."""
    mean: float
    deviation: float
    seeds: int

    @classmethod
    def of(cls, values):
        values = np.array(values, float)
        return cls(values.mean(), values.std(ddof=1) if len(values) > 1 else 0., len(values))

    def text(self, percent, sign):
        """12.34 ± 0.56 for a share in percent, 0.123 ± 0.004 for another number, with `sign` between the two."""
        mean, deviation = (100 * self.mean, 100 * self.deviation) if percent else (self.mean, self.deviation)
        digits = 2 if percent else 3
        return f"{mean:.{digits}f} {sign} {deviation:.{digits}f}"


def gather(summaries):
    """{row: {method: {measure: Number}}} of summaries [(row, summary)], one for each run; the rows in their order."""
    values = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row, summary in summaries:
        for method, results in summary["methods"].items():
            for measure, place in MEASURES.items():
                value = results
                for key in place:
                    value = value.get(key) if isinstance(value, dict) else None
                if value is not None:
                    values[row][method][measure].append(value)
    return {row: {method: {measure: Number.of(numbers) for measure, numbers in measures.items()}
                  for method, measures in methods.items()} for row, methods in values.items()}


def slug(row):
    """A row's name as part of a file's: case2-high for `case 2, high`."""
    return row.replace(", ", "-").replace(" ", "")


def method_order(table):
    """The methods that occur, in the papers' order, each forecaster behind its method."""
    names = [name for method in METHODS for name in (method, method + FORECASTER)]
    there = {method for methods in table.values() for method in methods}
    return [name for name in names if name in there]


def blocks(table):
    """Yields (measure, methods, [(row, [(Number or None, is_best)])]) for each measure that occurs.

    true-label is the upper bound and takes no part in the comparison; nor do the forecasters in that of the test scores,
    since they know the test items' crowd labels.
    """
    for measure in TITLES:
        methods = [name for name in method_order(table) if any(measure in table[row].get(name, {}) for row in table)]
        if not methods:
            continue
        rows = []
        for row in table:
            numbers = [table[row].get(name, {}).get(measure) for name in methods]
            rivals = [number and name != "true-label"
                      and (measure == "train_label_accuracy" or not name.endswith(FORECASTER))
                      for name, number in zip(methods, numbers, strict=True)]
            means = [number.mean for number, rival in zip(numbers, rivals, strict=True) if rival]
            best = (min if measure == "annotator_error" else max)(means, default=None)
            rows.append((row, [(number, bool(rival) and number.mean == best)
                               for number, rival in zip(numbers, rivals, strict=True)]))
        yield measure, methods, rows


def _seeds(cells):
    """How many seeds the numbers of a row rest on: 5, or 3-5."""
    counts = sorted({number.seeds for number, _ in cells if number})
    return "-".join(map(str, counts[::max(len(counts) - 1, 1)])) if counts else "0"


def markdown(table, title):
    lines = [f"# {title}", "", "Mean ± standard deviation over seeds; the best of each row in bold, true-label and the "
             "forecasters on test items apart."]
    for measure, methods, rows in blocks(table):
        lines += ["", f"**{TITLES[measure]}**", "", "| | " + " | ".join(methods) + " | seeds |",
                  "| --- |" + " --- |" * (len(methods) + 1)]
        for row, cells in rows:
            texts = [number.text(measure != "annotator_error", "±") if number else "" for number, _ in cells]
            texts = [f"**{text}**" if best else text for text, (_, best) in zip(texts, cells, strict=True)]
            lines.append(f"| {row} | " + " | ".join(texts) + f" | {_seeds(cells)} |")
    return "\n".join(lines) + "\n"


def latex(table, title):
    lines = [f"% {title}"]
    for measure, methods, rows in blocks(table):
        columns = "l" + "r" * (len(methods) + 1)
        lines += ["", f"% {TITLES[measure]}".replace("(%)", "(percent)"), rf"\begin{{tabular}}{{{columns}}}", r"\hline",
                  " & " + " & ".join(methods) + r" & seeds \\", r"\hline"]
        for row, cells in rows:
            percent = measure != "annotator_error"
            texts = [number.text(percent, r"\pm") if number else "" for number, _ in cells]
            texts = [rf"\mathbf{{{text}}}" if best else text for text, (_, best) in zip(texts, cells, strict=True)]
            texts = [f"${text}$" if text else "" for text in texts]
            lines.append(f"{row} & " + " & ".join(texts) + rf" & {_seeds(cells)} \\")
        lines += [r"\hline", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def write_csv(file, table):
    writer = csv.writer(file)
    writer.writerow(["row", "method", "measure", "mean", "deviation", "seeds"])
    for row, methods in table.items():
        for method in method_order(table):
            for measure, number in methods.get(method, {}).items():
                writer.writerow([row, method, measure, number.mean, number.deviation, number.seeds])


def _rows(file):
    with open(file, newline="") as rows:
        return list(csv.DictReader(rows))


def memorization_over_seeds(folders):
    """Rows as of memorization.csv, the means over the runs' means and deviations; [] where no run has any."""
    values = defaultdict(list)
    for folder in folders:
        if (folder / "memorization.csv").exists():
            for row in _rows(folder / "memorization.csv"):
                place = row["method"], int(row["stage"]), int(row["epoch"])
                values[place].append((float(row["mean"]), float(row["deviation"])))
    return [{"method": method, "stage": stage, "epoch": epoch, "mean": mean, "deviation": deviation}
            for (method, stage, epoch), numbers in values.items() for mean, deviation in [np.mean(numbers, 0)]]


def annotator_error_over_seeds(folders):
    """{method: array (M,)}, the mean of each annotator's error over the runs; {} where no run has any."""
    values = defaultdict(list)
    for folder in folders:
        if (folder / "annotator_error.csv").exists():
            rows = _rows(folder / "annotator_error.csv")
            for name in rows[0]:
                if name != "annotator":
                    values[name].append([float(row[name] or "nan") for row in rows])
    return {name: np.mean(numbers, 0) for name, numbers in values.items()}


def figures(write, table, folders, title):
    """Draws figure.png, and where there is KD-Crowd its two figures for each row over all seeds. write(name, draw)
    takes draw(file); folders: {row: [folder]}."""
    shown = {row: {method: measures["last_accuracy"] for method, measures in methods.items()
                   if "last_accuracy" in measures} for row, methods in table.items()}
    write("figure.png", lambda file: plots.bars(file, shown, method_order(table), title))
    for row, runs in folders.items():
        memorized = memorization_over_seeds(runs)
        pairs = taught({line["method"] for line in memorized})
        if pairs:
            over = f"{title if row == title else f'{title}, {row}'}, mean over {len(runs)} seeds"
            write(f"memorization-{slug(row)}.png",
                  lambda file, m=memorized, p=pairs, t=over: plots.memorization(file, m, p, t))
            errors = annotator_error_over_seeds(runs)
            pairs = taught(errors)
            if pairs:
                write(f"annotator_error-{slug(row)}.png",
                      lambda file, e=errors, p=pairs, t=over: plots.annotator_error(file, e, p, t))
