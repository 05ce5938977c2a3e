"""The tables of a data set: each measure, what was chosen without the truth, KD-Crowd's pairs, published figures."""
from common.names import teacher_student_pairs
from common.reproduce.files import read_rows
from common.reproduce.grids import Grid
from common.reproduce.numbers import CHOICES, TITLES, blocks, method_order, seeds_of

PAIRED = {"last_accuracy": "last epoch", "selected_accuracy": "selected epoch", "train_label_accuracy": "labels"}
PUBLISHED = "published.csv"  # in results/; a folder there where a row is for one alone


def markdown(grids, title, provenance):
    """The whole page; provenance: how it was measured (see `provenance`)."""
    parts = [f"# {title}", "Mean ± standard deviation over seeds; the best of each row in bold, true-label and the "
             "forecasters on test items not counted.", provenance]
    return "\n\n".join([part for part in parts if part] + [grid.markdown() for grid in grids]) + "\n"


def sections(table, choices, published, measures=None):
    """The tables as Grids, of these measures or of all that there are. published: rows of published.csv."""
    found = []
    for measure, methods, rows in blocks(table):
        if measures is None or measure in measures:
            found.append(_grid(TITLES[measure], methods, rows, measure != "annotator_error"))
    if measures is None or "choices" in measures:
        for title, rows in choices.items():
            columns = [name for name in CHOICES[title] if any(name in numbers for numbers in rows.values())]
            if columns:
                found.append(_grid(title, columns, [(row, [(numbers.get(name), False) for name in columns])
                                                    for row, numbers in rows.items()], "(%)" in title))
    if measures is None or "pairs" in measures:
        found += _pairs(table)
    if measures is None or "published" in measures:
        found += _published(table, published)
    return found


def _published(table, published):
    """[the Grid of published figures beside ours], [] without any."""
    order, rows = method_order(table), []
    there = [line for line in published if line["method"] in table.get(line["row"], {})]
    for line in sorted(there, key=lambda line: order.index(line["method"])):
        here = [table[line["row"]][line["method"]].get(measure)
                for measure in ("last_accuracy", "selected_accuracy", "best_accuracy")]
        rows.append([*(line[name] for name in ("method", "accuracy", "network", "rule", "source")),
                     *(number.text(True, "±") if number else "" for number in here)])
    title = f"published, test accuracy (%); here with {', '.join(dict.fromkeys(line['network here'] for line in there))}"
    headings = ["method", "published", "its network", "its rule of selection", "source", "here, last epoch",
                "here, selected epoch", "here, best test epoch"]
    return [Grid(title, headings, rows)] if rows else []


def _pairs(table):
    """[the Grid of the crowd models and of KD-Crowd on each], [] without any."""
    pairs = [(f"{row}: {teacher}" if len(table) > 1 else teacher, methods[teacher], methods[student])
             for row, methods in table.items() for teacher, student in teacher_student_pairs(methods)]
    measures = [measure for measure in PAIRED if any(measure in numbers for _, *both in pairs for numbers in both)]
    columns = [f"{PAIRED[measure]}, {who}" for measure in measures for who in ("alone", "KD-Crowd")]
    rows = [(name, [(numbers.get(measure), False) for measure in measures for numbers in both]) for name, *both in pairs]
    return [_grid("KD-Crowd on each crowd model (%)", columns, rows, True)] if pairs else []


def _grid(title, columns, rows, percent):
    """A Grid of rows [(name, [(Number or None, whether it is the best)])]."""
    texts = [[name, *(number.text(percent, "±") if number else "" for number, _ in cells),
              seeds_of(number for number, _ in cells)] for name, cells in rows]
    best = {(row, column + 1) for row, (_, cells) in enumerate(rows) for column, (_, is_best) in enumerate(cells) if is_best}
    return Grid(title, ["", *columns, "seeds"], texts, frozenset(best))


def read_published(root, folder):
    """The rows of results/published.csv, [{name: text}], that may stand beside the runs in a folder."""
    return [row for row in read_rows(root / "results" / PUBLISHED) if row["folder"] in ("", folder.name)]
