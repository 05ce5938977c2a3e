"""The papers' tables and figures, from the summaries of many runs: means and standard deviations over seeds."""
import csv
import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from common.methods.registry import METHODS
from common.names import FORECASTER, LABEL_MODELS, UPPER_BOUND, teacher_student_pairs
from common.output import plots
from common.system.errors import UserError
from common.system.files import replace_file

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
# "best" is by the truth, afterwards.
CHOICES = {
    "labels of the training items, right (%)": {
        **{name: lambda summary, name=name: summary["label_estimates"].get(name) for name in LABEL_MODELS},
        "labels.csv": lambda summary: summary["label_accuracy"],
        "best label estimate": lambda summary: max(accuracy for name, accuracy in summary["label_estimates"].items()
                                              if not name.startswith(UPPER_BOUND)),
        "calibration error": lambda summary: summary["calibration_error"]},
    "the method put first, its selected epoch's test accuracy (%)": {
        "put first": lambda summary: _selected(summary).get(summary["best_method"]),
        "best method": lambda summary: max((accuracy for name, accuracy in _selected(summary).items()
                                            if name != UPPER_BOUND), default=None),
        "the classifier left": lambda summary: summary.get("ensemble", summary.get("consensus", {})).get(
            "test_accuracy", _selected(summary).get(summary.get("classifier", summary["best_method"])))},
    "the annotators' accuracies, rank correlation with the true ones": {
        name: lambda summary, way=way: summary.get("annotator_correlation", {}).get(way)
        for name, way in (("annotators.csv", "estimated"), ("agreement with the majority vote", "majority-vote"),
                          ("dawid-skene", "dawid-skene"))},
}
PAIRED = {"last_accuracy": "last epoch", "selected_accuracy": "selected epoch", "train_label_accuracy": "labels"}
OF_A_CELL = {"case", "expertise", "seed", "device"}  # flags in which the runs of a table differ
PUBLISHED = "published.csv"  # in results/: row, method, accuracy, rule, source
BLOCK = re.compile(r"(<!-- (results/[^\s:]+): ([\w, -]+) -->\n).*?(<!-- end -->)", re.S)


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


def _seeds(cells):
    """How many seeds the numbers of a row rest on: 5, or 3-5."""
    counts = sorted({number.seeds for number, _ in cells if number})
    return "-".join(map(str, sorted({counts[0], counts[-1]}))) if counts else "0"


def markdown(table, choices, title, provenance, published):
    """The whole page; provenance: how it was measured (see `provenance`); published: rows of published.csv."""
    parts = [f"# {title}", "Mean ± standard deviation over seeds; the best of each row in bold, true-label and the "
             "forecasters on test items not counted.", provenance]
    return "\n\n".join([part for part in parts if part] + sections(table, choices, published)) + "\n"


def sections(table, choices, published, measures=None):
    """The tables, each with its title, of these measures or of all that there are."""
    found = []
    for measure, methods, rows in blocks(table):
        if measures is None or measure in measures:
            found.append(_table(TITLES[measure], methods, rows, measure != "annotator_error"))
    if measures is None or "choices" in measures:
        for title, rows in choices.items():
            columns = [name for name in CHOICES[title] if any(name in numbers for numbers in rows.values())]
            if columns:
                found.append(_table(title, columns, [(row, [(numbers.get(name), False) for name in columns])
                                                     for row, numbers in rows.items()], "(%)" in title))
    if measures is None or "pairs" in measures:
        found += _pairs(table)
    theirs = [line for line in published if line["method"] in table.get(line["row"], {})]
    if theirs and (measures is None or "published" in measures):
        lines = ["**published, test accuracy (%)**", "", "| method | published | its rule of selection | source "
                 "| here, last epoch | here, selected epoch | here, best test epoch |", "| --- |" + " --- |" * 6]
        for line in theirs:
            here = [table[line["row"]].get(line["method"], {}).get(measure)
                    for measure in ("last_accuracy", "selected_accuracy", "best_accuracy")]
            lines.append(f"| {line['method']} | {line['accuracy']} | {line['rule']} | {line['source']} | "
                         + " | ".join(number.text(True, "±") if number else "" for number in here) + " |")
        found.append("\n".join(lines))
    return found


def _pairs(table):
    """[the table of the crowd models and of KD-Crowd on each], [] without any."""
    pairs = [(f"{row}: {teacher}" if len(table) > 1 else teacher, methods[teacher], methods[student])
             for row, methods in table.items() for teacher, student in teacher_student_pairs(methods)]
    measures = [measure for measure in PAIRED if any(measure in numbers for _, *both in pairs for numbers in both)]
    columns = [f"{PAIRED[measure]}, {who}" for measure in measures for who in ("alone", "KD-Crowd")]
    rows = [(name, [(numbers.get(measure), False) for measure in measures for numbers in both]) for name, *both in pairs]
    return [_table("KD-Crowd on each crowd model (%)", columns, rows, True)] if pairs else []


def _table(title, columns, rows, percent):
    lines = [f"**{title}**", "", "| | " + " | ".join(columns) + " | seeds |", "| --- |" + " --- |" * (len(columns) + 1)]
    for row, cells in rows:
        texts = [number.text(percent, "±") if number else "" for number, _ in cells]
        texts = [f"**{text}**" if best else text for text, (_, best) in zip(texts, cells, strict=True)]
        lines.append(f"| {row} | " + " | ".join(texts) + f" | {_seeds(cells)} |")
    return "\n".join(lines)


def words(value):
    """A flag's value as on a command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _agree(configs, but):
    """Raises UserError where the runs with these records differ in a flag that is not among `but`."""
    runs = [{name: value for name, value in config["run"].items() if name not in but} for config in configs]
    for run in runs:
        for name in sorted(run.keys() | runs[0].keys()):
            if (run.get(name) or None) != (runs[0].get(name) or None):  # a flag that is younger than a run is off in it
                raise UserError(f"runs with {name.replace('_', '-')} {words(run.get(name))} and {words(runs[0].get(name))} "
                                "in one table; give each an --out of its own")


def provenance(parts):
    """How a table's runs were measured, in Markdown; "" without any. parts: [(records, the command that makes them)]. Raises
    UserError where the runs of a part differ in more than case, expertise and seed, or the parts in more than methods."""
    configs = [config for theirs, _ in parts for config in theirs]
    if not configs:
        return ""
    for theirs, _ in parts:
        _agree(theirs, OF_A_CELL)
    _agree(configs, {*OF_A_CELL, "methods"})

    def of_all(value):
        return ", ".join(sorted({str(value(config)) for config in configs}))
    threads = of_all(lambda config: config["threads"] * config.get("side_by_side", 1))
    return "\n".join(f"    {command}" for _, command in parts) + (
        f"\n\nMeasured {of_all(lambda config: config.get('date', 'without a date'))} at commit "
        f"{of_all(lambda config: (config['commit'] or 'unknown')[:7])} on {of_all(lambda config: config['device'])}, "
        f"{threads} thread{'' if threads == '1' else 's'}, {of_all(lambda config: config['run']['precision'])}, "
        f"torch {of_all(lambda config: config['versions']['torch'])}.")


def fill(root, folder, table, choices, how, published):
    """Writes the tables of a folder under results/ into README.md and docs/results/*.md, between the lines
    `<!-- results/digits: last_accuracy, choices -->` and `<!-- end -->` that name it. Returns the documents changed."""
    changed = []
    for name in ["README.md", *sorted(path.relative_to(root).as_posix() for path in root.glob("docs/results/*.md"))]:
        def filled(block):
            if (root / block[2]).resolve() != folder.resolve():
                return block[0]
            measures = block[3].split(", ")
            parts = [*([how] if "how" in measures else []), *sections(table, choices, published, measures)]
            return block[1] + "\n" + "\n\n".join(parts) + "\n\n" + block[4]
        old = (root / name).read_text(encoding="utf-8")
        new = BLOCK.sub(filled, old)
        if new != old:
            replace_file(root / name, lambda file, text=new: file.write(text), "w", encoding="utf-8")
            changed.append(name)
    return changed


def read_published(root):
    """The rows of results/published.csv, [{name: text}]."""
    return _rows(root / "results" / PUBLISHED)


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
    with open(file, newline="", encoding="utf-8") as rows:
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
    if any(shown.values()):
        write("figure.png", lambda file: plots.bars(file, shown, method_order(table), title))
    for row, runs in folders.items():
        memorized = memorization_over_seeds(runs)
        pairs = teacher_student_pairs({line["method"] for line in memorized})
        if pairs:
            over = f"{title if row == title else f'{title}, {row}'}, mean over {len({run.name for run in runs})} seeds"
            write(f"memorization-{slug(row)}.png",
                  lambda file, m=memorized, p=pairs, t=over: plots.memorization(file, m, p, t))
            errors = annotator_error_over_seeds(runs)
            pairs = teacher_student_pairs(errors)
            if pairs:
                write(f"annotator_error-{slug(row)}.png",
                      lambda file, e=errors, p=pairs, t=over: plots.annotator_error(file, e, p, t))
