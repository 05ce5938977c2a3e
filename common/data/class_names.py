"""The names of classes as users write them: which are the same, which are none, and in what order they stand."""
import ast
import difflib
import json
import re

import numpy as np

from common.data.columns import Column, rename
from common.data.rows import spot
from common.data.tools import one
from common.system.errors import UserError, echo, warn

NOTHING = {"", "nan", "NaN", "NA", "<NA>", "N/A", "n/a", "#N/A", "null", "NULL"}  # in a column for each annotator: no answer
NO_LABELS = NOTHING | {"none", "None", "?", "-", ".", "*"}  # what is rarely meant as a class
MISSING = {"-9", "-99", "-999", "99", "999"}  # the same, of numbers from 0 to LARGEST_CODE
LARGEST_CODE = 20
UNSURE = {"unsure", "not sure", "don't know", "dont know", "i don't know", "idk", "skip", "skipped"}  # perhaps no class
WIDE = "a column for each annotator"  # how the layout of such a table begins
DECIMALS = 20  # more different ones are measurements, not classes
WHOLE, DECIMAL = r"[+-]?\d+(\.0+)?", r"[+-]?\d+(\.\d+)?"


def sort_classes(names):
    """By their numbers if all are numbers, else by the alphabet."""
    return sorted(names, key=float if all(re.fullmatch(DECIMAL, name) for name in names) else None)


def plain(names):
    """Names that are all numbers, without zeros behind the point: whole numbers get `.0` in a table with gaps. Of other
    names only `1.0` beside `1`."""
    if all(re.fullmatch(DECIMAL, name) for name in names if name):
        return [_without_zeros(name) for name in names]
    return same_numbers(names)


def same_numbers(names):
    """The names, with `1` for `1.0` where both occur."""
    there = set(names)
    return [_without_zeros(name) if "." in name and re.fullmatch(WHOLE, name) and _without_zeros(name) in there else name
            for name in names]


def _without_zeros(name):
    return re.sub(r"\.$", "", re.sub(r"0+$", "", name)) if "." in name else name


def tidy_labels(file, label, lines, classes):
    """The Column of labels under plain names. Raises UserError for cells that hold several labels, and for measurements."""
    label = Column(label.codes, [_unpacked(file, label, lines, code) for code in range(len(label.values))])
    label = _with_plain_names(file, label)
    known = set(classes or ())
    names = set(label.values)
    for code, name in enumerate(label.values):
        parts = {part.strip() for part in re.split(r"[;|,\n]", name)}
        if name not in known and len(parts) > 1 and parts <= names:
            raise UserError(f"{_place(file, label, lines, code)}: {name!r}, which are {len(parts)} labels in one cell; "
                            "expected one for each answer, or the name among --classes")
    decimals = [name for name in names if re.fullmatch(r"[+-]?\d*[.,]\d+([eE][+-]?\d+)?", name)]
    if not classes and len(decimals) > DECIMALS:
        raise UserError(f"{file}: the labels are {len(decimals)} different numbers with decimals, as {decimals[0]}: "
                        "measurements, not classes; expected classes, or --columns with another label")
    return label


def _with_plain_names(file, label):
    """The Column of labels under their plain names, with a warning where `1.10`, which may be a code, became `1.1`."""
    names = plain(label.values)
    written = {}
    for name, short in zip(label.values, names, strict=True):
        other = written.setdefault(short, name)
        if other != name and not re.fullmatch(WHOLE, name):
            warn(f"{file}: {other!r} and {name!r} are one class, the number {short}; if they are two codes, write them "
                 "otherwise, as 1-10")
    return rename(label, names)


def _unpacked(file, label, lines, code):
    """The value number `code`, without the brackets of a JSON or Python list or object of one label."""
    value = label.values[code]
    if value[:1] not in ("[", "{") or value[-1:] not in ("]", "}"):
        return value
    try:
        found = _parsed(value)
        name = value if found is None else str(one(found)).strip()
    except (ValueError, RecursionError) as error:
        place = _place(file, label, lines, code)
        raise UserError(f"{place}: {value[:60]!r} has {error}; expected one label in a cell") from None
    return name


def _parsed(value):
    """The list or object that a cell's text is, None where it is neither."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        found = ast.literal_eval(value) if len(value) < 1000 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    return found if isinstance(found, list | dict) else None


def _place(file, label, lines, code):
    row = np.flatnonzero(label.codes == code)[:1]
    return spot(file, lines, row[0]) if lines is not None and len(row) else f"{file}"


def number_classes(answers, classes):
    """(label, names): int (L,) into the classes' names in their order: those given, else all that occur. Raises UserError
    for a label that is not among those given."""
    names = sort_classes(set(answers.classes)) if classes is None else list(classes)
    if classes is not None and not set(answers.classes) <= set(names):  # 0.0 and 1.0, which are read as 0 and 1
        names = plain(names)
    number = {name: c for c, name in enumerate(names)}
    if len(number) < len(names):
        twice = next(name for c, name in enumerate(names) if number[name] > c)
        raise UserError(f"--classes: {twice!r} twice; expected each class once")
    index = np.array([number.get(name, -1) for name in answers.classes])
    unknown = np.flatnonzero(index[answers.label] < 0)
    if len(unknown):
        name = answers.classes[answers.label[unknown[0]]]
        raise UserError(f"{answers.place(unknown[0])}: label {name!r}{nearest(name, names)}; expected one of --classes, "
                        f"{some(names)}")
    return index[answers.label], names


def warn_of_misspellings(answers):
    counts = np.bincount(answers.label, minlength=len(answers.classes))
    others = [name for name, count in zip(answers.classes, counts, strict=True) if count > 1]
    for c in np.flatnonzero(counts == 1)[:5]:
        name = answers.classes[c]
        warn(f"{answers.place(np.flatnonzero(answers.label == c)[0])}: {name!r} is the label of this answer "
              f"alone{nearest(name, others)}")
    written = {}
    codes = all(re.fullmatch(r"\d+", name) and int(name) <= LARGEST_CODE for name in set(answers.classes) - MISSING)
    for c in np.flatnonzero(counts):
        name = answers.classes[c]
        wide = answers.layout.startswith(WIDE)
        kept = f"{answers.file}: {name!r} is a class, of {counts[c]} answers; if it is none, " + (
            "leave the cells empty" if wide else f"--where COLUMN!='{name}' leaves them out")
        if name in NO_LABELS or codes and name in MISSING:
            warn(kept)
        elif name.lower() in UNSURE:
            echo(f"notice: {kept}")
        letters = re.search(r"[^\W\d_]", name)
        alike = re.sub(r"[\W_]+", "", name).lower() if letters else re.sub(r"^0+(?=\d)", "", name)
        same = written.setdefault(alike, name)
        if same != name:
            warn(f"{answers.file}: {same!r} and {name!r} are two classes; is one of them misspelt?")


def nearest(name, names):
    """`, near 'street'` for a name that looks like one of `names`, else nothing."""
    lower = {other.lower(): other for other in names}
    near = difflib.get_close_matches(name.lower(), list(lower), 1)
    return f", near {lower[near[0]]!r}" if near else ""


def some(names):
    """The first ten of the names, and how many there are."""
    return ", ".join(names[:10]) + (f", ... ({len(names)} in all)" if len(names) > 10 else "")
