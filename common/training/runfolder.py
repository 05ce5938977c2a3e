"""A run's folder: what it was started with, its checkpoint, and files that are never half written."""
import json
import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch

from common.errors import UserError
from common.files import replace_file

CONFIG, CHECKPOINT = "config.json", "checkpoint.pt"
FILES = (CONFIG, CHECKPOINT, "metrics.csv", "summary.json", "labels.csv", "annotators.csv", "confusion.npz",
         "curves.png", "confusion.png", "left_out.csv", "split_train_file.csv", "split_val_file.csv",
         "memorization.csv", "memorization.png", "annotator_error.csv", "annotator_error.png",
         "model.pt", "predictions.csv", "confusion.csv", "report.html")


def _commit():
    """The git commit of this code, or None outside a checkout."""
    try:
        done = subprocess.run(["git", "-C", Path(__file__).parent, "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


class RunFolder:
    """The folder of one run. Made by what the flags say; refuses to mix two runs."""

    def __init__(self, options, dataset, device, precision):
        self.path = Path(options.out or Path("runs") / options.run_name(dataset))
        self.config = {
            "dataset": dataset,
            "flags": asdict(options),
            "run": {**options.of_the_run(), "precision": precision, "device": device.type},
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type,
            "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version(), "torch": torch.__version__,
                         **{name: version(name) for name in ("torchvision", "numpy", "scikit-learn")}},
            "commit": _commit(),
        }
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if options.fresh:
                for name in FILES:
                    (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise self.cannot_write(error) from None
        self.refuse_another()

    def cannot_write(self, error):
        """The UserError for an OSError (or what torch makes of one) on a file of this folder."""
        return UserError(f"--out {self.path}: cannot be written to ({getattr(error, 'strerror', None) or error}); "
                         "give a folder that can")

    def refuse_another(self):
        """Raises UserError if the folder holds a run of other flags or data."""
        path = self.path / CONFIG
        if not path.exists():
            return
        try:
            there = json.loads(path.read_text())
            old = _compared(there)
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{path}: not the record of a run; give another --out or --fresh") from None
        new = _compared(self.config)
        for name, value in new.items():
            if name in old and old[name] != value:
                raise UserError(f"{self.path} holds another run: {name.replace('_', '-')} is {_show(old[name])} there "
                                f"and {_show(value)} here; give another --out, or --fresh to begin anew")

    def begin(self, data):
        """Adds what the data are (Dataset.describe) to the config and writes it, if it is not there yet."""
        self.config["data"] = data
        self.refuse_another()
        if not (self.path / CONFIG).exists():
            self.write_json(CONFIG, self.config)

    def write(self, name, write, mode="w", **how):
        """replace_file in this folder; raises UserError where that fails, a full disk for one."""
        try:
            replace_file(self.path / name, write, mode, **how)
        except (OSError, RuntimeError) as error:  # torch.save wraps the OSError of its file in a RuntimeError
            cause = error if isinstance(error, OSError) else error.__context__ or error
            raise self.cannot_write(cause) from None

    def write_json(self, name, value):
        self.write(name, lambda file: file.write(json.dumps(value, indent=2) + "\n"))

    def save(self, state):
        self.write(CHECKPOINT, lambda file: torch.save(state, file), "wb")

    def load(self, device):
        """The checkpoint, or None where there is none."""
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location=device, weights_only=True)
        except Exception:  # torch raises many kinds for a file that is not one of its own
            raise UserError(f"{path}: not a checkpoint that can be read; --fresh begins anew") from None

    def summary(self):
        """What a finished run left in summary.json, or None."""
        path = self.path / "summary.json"
        try:
            return json.loads(path.read_text()) if path.exists() else None
        except ValueError:
            return None


def _compared(config):
    """What must be the same for a run to go on: {name: value}; a flag may have the name of a fact about the data."""
    return {"dataset": config["dataset"], **config["run"],
            **{f"{name} of the data": value for name, value in config.get("data", {}).items()}}


def _show(value):
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
