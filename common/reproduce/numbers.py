"""The numbers of a table: means and standard deviations over seeds, from the summaries of many runs."""
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from common.names import AGGREGATE_THEN_TRAIN, FORECASTER, METHODS, UPPER_BOUND

MEASURES = {  # name in table.csv: where it is in a method's summary
    "last_accuracy": ("last", "test_accuracy"), "best_accuracy": ("best", "test_accuracy"),
    "selected_accuracy": ("selected", "test_accuracy"), "last_auc": ("last", "test_auc"), "best_auc": ("best", "test_auc"),
    "train_label_accuracy": ("train_label_accuracy",), "annotator_error": ("annotator_error",), "seconds": ("seconds",),
}
TITLES = {"last_accuracy": "last epoch, test accuracy (%)", "best_accuracy": "best test epoch, test accuracy (%)",
          "selected_accuracy": "selected epoch, test accuracy (%)",
          "last_auc": "last epoch, test AUC (%)", "best_auc": "best test epoch, its AUC (%)",
          "train_label_accuracy": "labels of the training items, accuracy (%)",
          "annotator_error": "mean error of the annotators' confusion matrices (lower is better)"}
# Of a run as a whole, where all was chosen by the crowd's labels (--select crowd): {title: {column: function of a summary}}.
CHOICES = {
    "label estimates of the training items, accuracy (%)": {
        **{name: lambda summary, name=name: summary["label_estimates"].get(name) for name in AGGREGATE_THEN_TRAIN},
        "labels.csv": lambda summary: summary["label_accuracy"],
        "best by the truth": lambda summary: max(accuracy for name, accuracy in summary["label_estimates"].items()
                                                 if not name.startswith(UPPER_BOUND)),
        "calibration error": lambda summary: summary["calibration_error"]},
    "chosen without the truth: test accuracy of the selected epoch (%)": {
        "best held-out log-likelihood": lambda summary: _selected(summary).get(summary["best_method"]),
        "best by the truth": lambda summary: max((accuracy for name, accuracy in _selected(summary).items()
                                                 if name != UPPER_BOUND), default=None),
        "final classifier": lambda summary: summary.get("ensemble", summary.get("consensus", {})).get(
            "test_accuracy", _selected(summary).get(summary.get("classifier", summary["best_method"])))},
    "the annotators' accuracies, rank correlation with the true ones": {
        name: lambda summary, way=way: summary.get("annotator_correlation", {}).get(way)
        for name, way in (("annotators.csv", "estimated"), ("agreement with the majority vote", "majority-vote"),
                          ("dawid-skene", "dawid-skene"))},
}


@dataclass(frozen=True)
class Number:
    """A mean and a standard deviation (of the sample; NaN for a single seed) over `seeds` runs."""
    mean: float
    deviation: float
    seeds: int

    @classmethod
    def of(cls, values):
        values = np.array(values, float)
        return cls(values.mean(), values.std(ddof=1) if len(values) > 1 else np.nan, len(values))

    def text(self, percent, sign):
        """12.34 ± 0.56 for a share in percent, 0.123 ± 0.004 for another number, with `sign` between the two; of one seed
        the mean alone."""
        mean, deviation = (100 * self.mean, 100 * self.deviation) if percent else (self.mean, self.deviation)
        digits = 2 if percent else 3
        return f"{mean:.{digits}f}" + (f" {sign} {deviation:.{digits}f}" if self.seeds > 1 else "")


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


def _selected(summary):
    """{method: test accuracy at its selected epoch}, without forecasters."""
    return {name: method["selected"]["test_accuracy"] for name, method in summary["methods"].items()
            if not name.endswith(FORECASTER) and (method.get("selected") or {}).get("test_accuracy") is not None}


def gather_choices(summaries):
    """{title: {row: {column: Number}}} of summaries [(row, summary)], of those runs that have chosen without the truth."""
    chosen = [(row, summary) for row, summary in summaries if summary.get("best_method") and summary.get("label_estimates")
              and summary.get("label_accuracy") is not None]
    found = {}
    for title, columns in CHOICES.items():
        for row in dict.fromkeys(row for row, _ in chosen):
            values = {name: [value(summary) for there, summary in chosen if there == row] for name, value in columns.items()}
            found.setdefault(title, {})[row] = {name: Number.of(numbers) for name, numbers in values.items()
                                                if None not in numbers}
    return found


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
            rivals = [number and name != UPPER_BOUND
                      and (measure == "train_label_accuracy" or not name.endswith(FORECASTER))
                      for name, number in zip(methods, numbers, strict=True)]
            means = [number.mean for number, rival in zip(numbers, rivals, strict=True) if rival]
            best = (min if measure == "annotator_error" else max)(means, default=None)
            rows.append((row, [(number, bool(rival) and number.mean == best)
                               for number, rival in zip(numbers, rivals, strict=True)]))
        yield measure, methods, rows


def seeds_of(numbers):
    """How many seeds the numbers rest on: 5, or 3-5. A None among them is no number."""
    counts = sorted({number.seeds for number in numbers if number})
    return "-".join(map(str, sorted({counts[0], counts[-1]}))) if counts else "0"
