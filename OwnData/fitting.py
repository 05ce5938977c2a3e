"""The run of main.py on DataFrames, arrays and paths, from Python; and its classifier again from model.pt."""
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.output.model import Model, load_model
from common.system.errors import UserError
from OwnData.aggregation import Result

TABLES = {"labels": "labels", "annotators": "annotators", "agreement": "agreement", "next_items": "next",
          "confusion": "confusion"}  # DataFrame: file


@dataclass(frozen=True)
class Classifier:
    """A run's classifier. `load` reads one; `fit` returns one with the run's results."""
    model: Model

    def predict(self, images=None, features=None, texts=None, items=None, device="cpu"):
        """A DataFrame with a row for each item: item, label, confidence, a column for each class.

        One of images (a folder), features (a table's path or DataFrame, an array (N, F) or its .npy; items: the names of
        the rows) and texts (a table's path, DataFrame or Series) is given. Raises UserError for anything wrong with them.
        """
        from OwnData.predict import predict
        with tempfile.TemporaryDirectory() as folder:
            given = as_files(Path(folder), images=images, features=features, texts=texts, items=items)
            names, probabilities = predict(self.model, given, device)
        columns = {"item": names, "label": [self.model.classes[c] for c in probabilities.argmax(1)],
                   "confidence": probabilities.max(1).values.tolist()}
        return pd.DataFrame(columns | dict(zip(self.model.classes, probabilities.T.tolist(), strict=True)))


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


def fit(answers, *, images=None, features=None, texts=None, items=None, truth=None, gold=None, out=None, **flags):
    """Trains on a crowd's answers and items, as `python3 OwnData/main.py` does. Returns a Fit.

    answers, truth, gold: DataFrames or paths, as in `aggregate`; images: a folder; features: a DataFrame or a table's path,
    or an array (N, F) with `items`, the names of its rows; texts: a DataFrame (task, text) or a path; out: the run's folder,
    by default a temporary one; flags: those of main.py, as epochs=5, methods=["max-mig"], classes=["a", "b"].

    Raises UserError, one sentence, for anything that is wrong with them.
    """
    from OwnData.main import main
    if images is None and features is None and texts is None:
        raise UserError("fit: no items; expected images, features or texts, or aggregate(answers) for the answers alone")
    folder = Path(out or tempfile.mkdtemp(prefix="crowd-"))
    with tempfile.TemporaryDirectory() as tables:
        given = as_files(Path(tables), answers=answers, images=images, features=features, texts=texts, items=items,
                         truth=truth, gold=gold)
        arguments = [word for name, value in given.items() for word in (f"--{name}", value)]
        for name, value in flags.items():
            flag = f"--{name.replace('_', '-')}"
            values = value if isinstance(value, list | tuple) else [value]
            arguments += [] if value in (None, False) else [flag] if value is True else [flag, *map(str, values)]
        status = main([*arguments, "--out", str(folder)])
    if status:
        raise UserError(f"no method was trained to the end; {folder / 'summary.json'} says why")
    text = {"item": str, "annotator": str}
    frames = {name: pd.read_csv(folder / f"{file}.csv", dtype=text) for name, file in TABLES.items()}
    return Fit(load_model(str(folder / "model.pt")), **frames, summary=json.loads((folder / "summary.json").read_text()),
               folder=folder)


def load(path):
    """The Classifier in model.pt, or in the run's folder that has it. Raises UserError if there is none."""
    path = Path(path)
    return Classifier(load_model(str(path / "model.pt" if path.is_dir() else path)))


def as_files(folder, **given):
    """{name: path}: what is given, DataFrames and arrays as files in the folder; without what is None."""
    files = {}
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, str | Path):
            files[name] = str(value)
        elif isinstance(value, np.ndarray):
            files[name] = str(folder / f"{name}.npy")
            np.save(files[name], value)
        elif name == "items":
            files[name] = str(folder / "items.txt")
            Path(files[name]).write_text("\n".join(map(str, value)) + "\n")
        elif isinstance(value, pd.DataFrame | pd.Series):
            files[name] = str(folder / f"{name}.csv")
            named = value.index.name is not None or not pd.api.types.is_integer_dtype(value.index)
            (value.to_frame("text") if isinstance(value, pd.Series) else value).to_csv(
                files[name], index=named or isinstance(value, pd.Series), index_label=value.index.name or "task")
        else:
            raise UserError(f"{name}: a {type(value).__name__}; expected a DataFrame, an array or a path")
    return files
