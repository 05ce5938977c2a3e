"""Users' items: a folder of images, a table or array of features, a table of texts."""
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.class_names import WHOLE, plain
from common.data.item_names import AMBIGUOUS, FILE_NAMES, find_items
from common.data.layouts import TASK, TRUTH, find_column, key
from common.data.opening import MB, folder_at, read_array, read_bytes
from common.data.scans import ENDINGS
from common.data.tables import UNNAMED, header_of, read_columns, read_numbers
from common.system.errors import UserError, echo, first_few

TEXT = ("text", "sentence", "document", "content", "body", "tweet", "comment", "question")
RUN_PICTURES = ("curves.png", "confusion.png", "memorization.png", "annotator_error.png")


@dataclass(frozen=True)
class Source:
    """N items as the user keeps them. kind: images (raw: their paths), features (raw: float64 (N, F)), texts (raw: str) or
    answers (raw: their names, all that is known of them); origin: the file or folder; columns: the features' names, [] where
    they have none."""
    kind: str
    origin: str
    names: list
    raw: object
    columns: list

    def __len__(self):
        return len(self.names)

    def find(self, names):
        """int array: which item each name means, as item_names.find_items says, -1 for none and AMBIGUOUS for more than one.
        """
        return find_items(self.names, names, FILE_NAMES if self.kind == "images" else FILE_NAMES[:1])

    def locate(self, names, place, given):
        """int array: which item each name means. place(k) says where the k-th name stands, and `given` what is given there,
        for errors. Raises UserError for a name that means no item, or may mean several."""
        index = self.find(names)
        unknown = np.flatnonzero(index < 0)
        if len(unknown):
            more = f", and {len(unknown) - 1} more items that are not" if len(unknown) > 1 else ""
            several = f"may be several {'files' if self.kind == 'images' else 'items'} of"
            what = several if index[unknown[0]] == AMBIGUOUS else "is not in"
            unnamed = self.kind == "features" and self.origin.endswith(".npy") and self.names[-1] == str(len(self) - 1)
            raise UserError(f"{place(unknown[0])}: item {names[unknown[0]]!r}, which {what} --{self.kind} "
                            f"{self.origin}{more}; expected {given} items that are there: {first_few(self.names)}"
                            + "; name the rows by --items FILE" * unnamed)
        return index

    def call(self, index, names):
        """The Source under the names by which its items (int array) were found. The others are called in the same way, if
        there is one way and no two would have one name."""
        names = dict(zip(index.tolist(), names, strict=True))
        called = self.names
        for shorten in FILE_NAMES:
            short = [shorten(name) for name in self.names]
            if len(set(short)) == len(short) and all(short[i] == name for i, name in names.items()):
                called = short
                break
        return replace(self, names=[names.get(i, name) for i, name in enumerate(called)])


def read_source(images=None, features=None, texts=None, items=None):
    """The Source of the one of --images, --features and --texts that is given. Raises UserError for bad input."""
    given = [name for name, value in (("images", images), ("features", features), ("texts", texts)) if value]
    if len(given) != 1:
        raise UserError(f"{' and '.join(f'--{name}' for name in given) or 'no items'}: expected one of --images DIR, "
                        "--features FILE and --texts FILE")
    if items and not (features and features.endswith(".npy")):
        raise UserError(f"--items {items}: names the rows of --features FILE.npy; the names are elsewhere here")
    source = _images(images) if images else _texts(texts) if texts else _features(features, items)
    twice = sorted({name for name, count in zip(*np.unique(source.names, return_counts=True), strict=True) if count > 1})
    if twice:
        where = "" if not features or items else f" in its first column, {header_of(features)[0]!r}" * (
            not find_column(header_of(features), TASK))
        more = ": is there a column of the items' names, called task?" if where else ""
        raise UserError(f"{items or source.origin}: {str(twice[0])!r} more than once{where}; expected each item once{more}")
    return source


def _images(folder):
    root = folder_at(folder, "--images", "; expected image files")
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = sorted(path for path in _files(root)
                   if (path.suffix.lower() in endings or path.name.lower().endswith(ENDINGS)) and path.is_file())
    if not files:
        raise UserError(f"--images {folder}: no image files in it")
    return Source("images", folder, [path.relative_to(root).as_posix() for path in files], files, [])


def _files(root):
    """Yields the paths in a folder, except hidden ones and the pictures of a run."""
    for folder, folders, names in os.walk(root):
        if "config.json" in names and ("checkpoint.pt" in names or "summary.json" in names):
            names = [name for name in names if name not in RUN_PICTURES]
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _features(file, items):
    if file.endswith(".npy"):
        array = read_array(file)
        if array.ndim < 2 or not array.size:
            raise UserError(f"{file}: shape {array.shape}; expected numbers, (items, features)")
        names, array = [str(row) for row in range(len(array))], array.reshape(len(array), -1).astype(np.float64)
        if items:
            names = _names(items, len(array), file)
        source = Source("features", file, names, array, [])
    else:
        header = header_of(file)
        task = find_column(header, TASK) or header[0]
        rows = [name for name in header[:1] if name in UNNAMED and name != task]
        labels = [name for name in header if name != task and key(name) in (*TRUTH, "label")]
        if labels:
            echo(f"notice: {file}: no feature and left out: {', '.join(labels)}")
        names, array, columns = read_numbers(file, task, without=[*rows, *labels])
        if not array.size:
            raise UserError(f"{file}: {len(array)} rows of {array.shape[1]} features; expected items with features")
        names = plain(names) if all(re.fullmatch(WHOLE, name) for name in names) else names  # 1.0, of a table with gaps
        source = Source("features", file, names, array, columns)
    bad = np.argwhere(~np.isfinite(source.raw))
    if len(bad):
        row, column = bad[0]
        which = list(dict.fromkeys(str(source.columns[k] if source.columns else k) for k in bad[:, 1]))
        shown = ", ".join(which[:5]) + ", ..." * (len(which) > 5)
        raise UserError(f"{file}: feature {which[0]} of item {source.names[row]!r} is {source.raw[row, column]}, {len(bad)} "
                        f"such in all, in {shown}; expected finite numbers: impute them (as by the feature's median), or "
                        "drop these features or items")
    return source


def _names(file, rows, features):
    try:
        text = read_bytes(file, 512 * MB, f"--items {file}").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"--items {file}: not UTF-8 text") from None
    names = [line.strip() for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    if len(names) == rows + 1 and find_column(names[:1], TASK):
        names = names[1:]
    if len(names) != rows:
        raise UserError(f"--items {file}: {len(names)} names; expected one on a line for each of the {rows} rows of "
                        f"{features}")
    return names


def _texts(file):
    header = header_of(file)
    others = [name for name in header if name != find_column(header, TEXT)]
    task = (find_column(others, TASK) or find_column(header, TASK)  # a question may be either
            or next((name for name in others if not find_column([name], TEXT)), header[0]))
    text = find_column([name for name in header if name != task], TEXT)
    if text is None and len(header) == 2:
        text = next(name for name in header if name != task)
    if text is None:
        raise UserError(f"{file}, line 1: columns {', '.join(header)}; expected task and text")
    columns, lines = read_columns(file, (task, text))
    names, texts = ([column.values[code] for code in column.codes] for column in (columns[task], columns[text]))
    if "" in names:
        raise UserError(f"{file}, line {lines[names.index('')]}: nothing in column {task!r}; expected the item's name")
    return Source("texts", file, names, texts, [])
