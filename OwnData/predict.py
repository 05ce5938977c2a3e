"""What a run's classifier says of new items: predictions.csv with their names, labels and probabilities.

    python3 OwnData/predict.py RUN --images DIR | --features FILE | --texts FILE [--out predictions.csv]
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root: runs uninstalled, from any folder

from common.system.errors import UserError, echo, first_few, launch  # first: then Control-C in the imports is no traceback

# isort: split
import argparse

import numpy as np
import torch

from common.data.sources import read_source
from common.networks.frozen import inputs_of
from common.output.csv_files import notice_formulas, write_columns
from common.output.files import CONFIG, FILES
from common.output.model import load_model, prediction_columns
from common.system.device import choose_device, settle
from common.system.files import replace_file
from common.training.options import Parser


def predict(model, given, device=None, cache=None):
    """(names, float32 (N, C)): the items that can be read, and the Model's probabilities of their classes.

    given: {"images", "features", "texts", "items": path or None}; device, cache: as --device and --cache.
    """
    source = read_source(**given)
    device = choose_device(device)
    settle(device)
    inputs, readable = inputs_of(source, model.preprocessing, device, cache)
    whole = np.flatnonzero(readable)
    if len(whole) < len(source):
        broken = [source.names[i] for i in np.flatnonzero(~readable)]
        echo(f"notice: {len(broken)} images cannot be decoded, or have more bits a pixel than those of the "
             f"training, and are skipped: {first_few(broken)}")
        inputs = inputs.select(torch.from_numpy(whole))
    return [source.names[i] for i in whole], model.predict(inputs, device)


def main(arguments=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="the run's folder, or its model.pt")
    parser.add_argument("--images", metavar="DIR", help="folder of image files")
    parser.add_argument("--features", metavar="FILE", help="table with numbers beside the items' names, or .npy")
    parser.add_argument("--texts", metavar="FILE", help="table task,text")
    parser.add_argument("--items", metavar="FILE", help="the names of the rows of --features FILE.npy, one on a line")
    parser.add_argument("--out", metavar="FILE", default="predictions.csv", help="the table to write (default: %(default)s)")
    parser.add_argument("--cache", metavar="DIR|none", help="folder of decoded images and features; none: keep nothing")
    parser.add_argument("--device", help="number of a GPU, or cpu; by default GPU 0 where there is one")
    options = parser.parse_args(arguments)
    file = Path(options.run) / "model.pt" if Path(options.run).is_dir() else Path(options.run)
    for name, given in (("RUN", file), *((f"--{name}", getattr(options, name)) for name in ("features", "texts", "items"))):
        if given and Path(given).resolve() == Path(options.out).resolve():
            raise UserError(f"--out {options.out}: the file of {name}, which would be lost; give another")
    if Path(options.out).name in FILES and (Path(options.out).parent / CONFIG).exists():
        raise UserError(f"--out {options.out}: a file of a run, which would be lost; give another")
    if Path(options.out).is_dir():
        raise UserError(f"--out {options.out}: a folder; expected the name of a table to write")
    model = load_model(file)
    given = {name: getattr(options, name) for name in ("images", "features", "texts", "items")}
    names, probabilities = predict(model, given, options.device, options.cache)
    try:
        columns = prediction_columns(names, probabilities, model.classes)
        replace_file(Path(options.out), lambda file: write_columns(file, columns), "w", newline="", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {options.out}: cannot be written to ({error.strerror or error})") from None
    notice_formulas(names)
    echo(f"{len(names)} items, by {model.method}: {options.out}")
    return 0 if names else 1


if __name__ == "__main__":
    launch(main)
