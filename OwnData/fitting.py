"""The run of main.py on DataFrames, arrays and paths, from Python; and its classifier again from model.pt."""
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.data.exports import is_nested, records_of
from common.data.layouts import TASK, find_column
from common.data.tables import Frame
from common.output.model import Model, load_model, prediction_columns
from common.system.errors import UserError
from OwnData.aggregation import Result, is_named, several, table_of

TABLES = {"labels": "labels", "annotators": "annotators", "agreement": "agreement", "next_items": "next",
          "confusion": "confusion"}  # DataFrame: file
TEXT = {"labels": ("item", "truth", "majority_vote", "label"), "annotators": ("annotator", "common_label", "flag"),
        "agreement": ("first", "second"), "next": ("item", "label"), "confusion": ("annotator", "true class")}


@dataclass(frozen=True)
class Classifier:
    """A run's classifier. `load` reads one; `fit` returns one with the run's results. cache: the run's --cache, or None."""
    model: Model
    cache: str | None

    def predict(self, images=None, features=None, texts=None, items=None, device="cpu", cache=None):
        """A DataFrame with a row for each item: item, label, confidence, a column for each class.

        One of images (a folder), features (a table's path or DataFrame, an array (N, F) or its .npy; items: the names of
        the rows) and texts (a table's path, DataFrame or Series) is given. cache: the folder of decoded images and features,
        or "none", as in `fit` by default. Raises UserError for anything wrong with them.
        """
        from OwnData.predict import predict
        with tempfile.TemporaryDirectory() as folder:
            given = as_files(Path(folder), images=images, features=features, texts=texts, items=items)
            names, probabilities = predict(self.model, given, device, cache or self.cache)
        return pd.DataFrame(prediction_columns(names, probabilities, self.model.classes))


@dataclass(frozen=True)
class Fit(Result, Classifier):
    """What `fit` returns: the Result that `aggregate` has, the classifier, and the run's folder with report.html."""
    folder: Path

    @property
    def report(self):
        """The path of report.html."""
        return self.folder / "report.html"

    def save(self, path):
        """Writes the classifier to a file that `load` and OwnData/predict.py read."""
        shutil.copyfile(self.folder / "model.pt", path)


def fit(answers, *, images=None, features=None, texts=None, items=None, truth=None, gold=None, groups=None, out=None,
        **flags):
    """Trains on a crowd's answers and items, as `python3 OwnData/main.py` does. Returns a Fit.

    answers, truth, gold: as in `aggregate`; groups: a DataFrame or path, of --groups; images: a folder; features: a
    DataFrame or a table's path, or an array (N, F) with `items`, the names of its rows; texts: a DataFrame (task, text) or
    a path; out: the run's folder, by default a temporary one; flags: those of main.py, as epochs=5, methods=["max-mig"],
    classes=["a", "b"].

    Raises UserError, one sentence, for anything that is wrong with them.
    """
    from OwnData.main import main
    if images is None and features is None and texts is None:
        raise UserError("fit: no items; expected images, features or texts, or aggregate(answers) for the answers alone")
    if flags.get("no_header") and any(isinstance(table, pd.DataFrame) for table in several(answers).values()):
        raise UserError("--no-header: answers is a DataFrame, whose columns have names")
    folder = Path(out or tempfile.mkdtemp(prefix="crowd-"))
    with tempfile.TemporaryDirectory() as tables:
        given = {**several(answers), "truth": truth, "gold": gold}
        answered = as_files(Path(tables), **{name: table_of(table, name) for name, table in given.items()})
        known = {name: answered.pop(name) for name in ("truth", "gold") if name in answered}
        given = known | as_files(Path(tables), images=images, features=features, texts=texts, items=items, groups=groups)
        arguments = ["--answers", *answered.values()] if answered else []
        arguments += [word for name, value in given.items() for word in (f"--{name}", value)]
        for name, value in flags.items():
            flag = f"--{name.replace('_', '-')}"
            values = value if isinstance(value, list | tuple) else [value]
            arguments += [] if value is None or value is False else [flag] if value is True else [flag, *map(str, values)]
        try:
            status = main([*arguments, "--out", str(folder)], command=False)
        except UserError as error:  # DataFrames are called by their names, not by the files they were for main
            raise UserError(str(error).replace(f"{tables}/", "")) from None
    if status:
        raise UserError(f"no method was trained to the end; {folder / 'summary.json'} says why")
    model = load_model(str(folder / "model.pt"))
    frames = {name: read_frame(folder / f"{file}.csv", len(model.classes)) for name, file in TABLES.items()}
    return Fit(model, flags.get("cache"), **frames, summary=json.loads((folder / "summary.json").read_text()),
               folder=folder)


def load(path):
    """The Classifier in model.pt, or in the run's folder that has it. Raises UserError if there is none."""
    path = Path(path)
    return Classifier(load_model(str(path / "model.pt" if path.is_dir() else path)), None)


def read_frame(file, classes):
    """The DataFrame of a table that a run of so many classes leaves. Names of items, annotators and classes stay text, "01"
    and "NA" too."""
    columns = list(pd.read_csv(file, nrows=0).columns)
    text = set(TEXT[file.stem])
    if file.stem == "labels":  # behind the classes' columns: the label estimates
        text |= set(columns[columns.index("agreement") + 1 + classes:])
    return pd.read_csv(file, dtype=dict.fromkeys(text, str), keep_default_na=False,
                       na_values={name: [""] for name in columns if name not in text})


def as_files(folder, **given):
    """{name: path}: what is given, without what is None; Frames, DataFrames, Series and arrays as files in the folder."""
    files = {}
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, str | Path):
            files[name] = str(value)
        elif name == "items":
            files[name] = str(folder / "items.txt")
            Path(files[name]).write_text("\n".join(map(str, value)) + "\n")
        elif isinstance(value, np.ndarray):
            files[name] = str(folder / f"{name}.npy")
            np.save(files[name], value)
        elif isinstance(value, Frame) and is_nested(value.table):
            files[name] = str(folder / f"{name}.json")
            Path(files[name]).write_text(json.dumps(records_of(value.table)))
        elif isinstance(value, Frame):
            files[name] = str(folder / f"{name}.csv")
            value.as_text().to_csv(files[name], index=False)
        elif isinstance(value, pd.DataFrame | pd.Series):
            files[name] = str(folder / f"{name}.csv")
            frame = value.to_frame("text") if isinstance(value, pd.Series) else value
            frame.to_csv(files[name], index=isinstance(value, pd.Series) or has_names(frame),
                         index_label=frame.index.name or "task")
        else:
            raise UserError(f"{name}: a {type(value).__name__}; expected a DataFrame, an array or a path")
    return files


def has_names(frame):
    """Whether a DataFrame's index holds the items' names: one that is named or no integers. Where no column can hold them
    also one that does more than number the rows, or that of numbers alone."""
    if is_named(frame.index):
        return True
    numbers = all(pd.api.types.is_float_dtype(kind) for kind in frame.dtypes)
    return find_column(list(map(str, frame.columns)), TASK) is None and (
        numbers or not frame.index.equals(pd.RangeIndex(len(frame))))
