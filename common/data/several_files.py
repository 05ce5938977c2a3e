"""Several files of answers: whose each is, and the rows of all."""
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from common.data.class_names import WIDE, some
from common.data.columns import Column, normal
from common.data.layouts import without_ending
from common.data.rows import Rows
from common.data.tables import UNNAMED, header_of
from common.system.errors import UserError, echo

SHARED = 1.5  # files an item is in on average, from which they are of different annotators


def refuse_questions(files, parts):
    """Raises UserError where a file has columns for the same annotators as others, and most of its items are in these: it is
    rather a file of each annotator, with an answer to several questions in each row. A small file may correct another."""
    known = {}  # {the columns: [the items of each file]}
    for file, rows in zip(files, parts, strict=True):
        if not rows.layout.startswith(WIDE):
            continue
        columns, items = rows.annotator.values, set(rows.item.values)
        earlier = known.setdefault(frozenset(columns), [])
        again = len(items & set().union(*earlier))
        if 2 * again > len(items) and 2 * len(items) > max(map(len, earlier)):
            unnamed = " (TASK is 'Unnamed: 0' for the first column)" * (header_of(file)[0] == UNNAMED[0])
            raise UserError(f"{file}: {again} of its {len(items)} items are in other files too, with the same columns, "
                            f"{some(columns)}; if each file is one annotator's, expected one question: --columns TASK "
                            f"{shlex.quote(columns[0])}{unnamed}; if these annotators answered again, one table of "
                            "task,worker,label")
        earlier.append(items)


def people_of(files):
    """The annotators' names where each has a file: its name, with as many of its folders as tell it from the others."""
    paths = [Path(str(file)).resolve() for file in files]
    short = [path.parent / without_ending(path.name) for path in paths]
    names = [normal(path.name) for path in short]
    for depth in range(2, max(len(path.parts) for path in paths)):
        several = Counter(names)
        names = ["/".join(path.parts[-depth:]) if several[name] > 1 else name
                 for path, name in zip(short, names, strict=True)]
    several = Counter(names)
    return [str(path) if several[name] > 1 else name for path, name in zip(paths, names, strict=True)]


def by_files(people, parts):
    """The Rows of each file as its own annotator's where all are by one and the same, and share most items: with a tool on
    their own computers all people have one number. people: what people_of calls them."""
    names = {name for rows in parts for name in rows.annotator.values}
    if len(names) != 1:
        return parts
    items = [set(rows.item.values) for rows in parts]
    if sum(map(len, items)) < SHARED * len(set().union(*items)):
        return parts
    echo(f"notice: all answers are by {names.pop()!r}, to the same items in several files; each file is taken for an "
         "annotator of its own")
    return [replace(rows, annotator=Column(rows.annotator.codes, [person][:len(rows.annotator.values)]))
            for rows, person in zip(parts, people, strict=True)]


def concatenate(parts):
    """The Rows of several files one after another, and int (L,), the file of each."""
    merged = []
    for name in ("item", "annotator", "label"):
        columns = [getattr(part, name) for part in parts]
        names = [name for column in columns for name in column.values]
        codes, values = pd.factorize(pd.Index(names, dtype=object))
        starts = np.cumsum([0, *(len(column.values) for column in columns)])
        merged.append(Column(np.concatenate([codes[start + column.codes] if len(column.codes) else column.codes
                                             for start, column in zip(starts, columns, strict=False)]), list(values)))
    lines = np.concatenate([np.full(len(part.label.codes), -1) if part.lines is None else part.lines for part in parts])
    layouts = list(dict.fromkeys(part.layout for part in parts))
    part = np.repeat(np.arange(len(parts)), [len(part.label.codes) for part in parts])
    return Rows(*merged, lines, "", "; ".join(layouts)), part
