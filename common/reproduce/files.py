"""The files of a table besides Markdown: LaTeX, CSV and figures."""
import csv
from collections import defaultdict

import numpy as np

from common.names import teacher_student_pairs
from common.output import plots
from common.reproduce.numbers import TITLES, blocks, method_order, seeds_of, slug


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
            lines.append(f"{row} & " + " & ".join(texts) + rf" & {seeds_of(number for number, _ in cells)} \\")
        lines += [r"\hline", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def write_csv(file, table):
    writer = csv.writer(file)
    writer.writerow(["row", "method", "measure", "mean", "deviation", "seeds"])
    for row, methods in table.items():
        for method in method_order(table):
            for measure, number in methods.get(method, {}).items():
                writer.writerow([row, method, measure, number.mean, number.deviation, number.seeds])


def read_rows(file):
    """The rows of a CSV file, [{heading: text}]."""
    with open(file, newline="", encoding="utf-8") as rows:
        return list(csv.DictReader(rows))


def memorization_over_seeds(folders):
    """Rows as of memorization.csv, the means over the runs' means and deviations; [] where no run has any."""
    values = defaultdict(list)
    for folder in folders:
        if (folder / "memorization.csv").exists():
            for row in read_rows(folder / "memorization.csv"):
                place = row["method"], int(row["stage"]), int(row["epoch"])
                values[place].append((float(row["mean"]), float(row["deviation"])))
    return [{"method": method, "stage": stage, "epoch": epoch, "mean": mean, "deviation": deviation}
            for (method, stage, epoch), numbers in values.items() for mean, deviation in [np.mean(numbers, 0)]]


def annotator_error_over_seeds(folders):
    """{method: array (M,)}, the mean of each annotator's error over the runs; {} where no run has any."""
    values = defaultdict(list)
    for folder in folders:
        if (folder / "annotator_error.csv").exists():
            rows = read_rows(folder / "annotator_error.csv")
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
