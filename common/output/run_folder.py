"""A run's folder: its checkpoint, and files that are never half written.

The checkpoint decides: it is one file, holds the config too, and is replaced in one step. All else is written again from it.
"""
import contextlib
import json
import platform
import re
import subprocess
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch

from common.data.opening import reason
from common.data.tensors import load_tensors, save_tensors
from common.output.files import CHECKPOINT, CONFIG, FILES, SUMMARY
from common.output.records import Config, read_config, read_record, read_summary
from common.output.run_state import can_be_of, is_state
from common.system.errors import UserError, echo
from common.system.files import claim, holder, remove_leftovers, replace_file

GIVEN = "images", "features", "texts", "truth", "gold"  # flags of data that a run may have


def _commit():
    """The git commit of this code, or None outside a checkout."""
    try:
        done = subprocess.run(["git", "-C", Path(__file__).parent, "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def _processor():
    """The processor's name, "" where the system does not tell it."""
    try:
        named = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        named = None
    return named[1] if named else platform.processor()


class RunFolder:
    """The folder of one run, named by what the flags say. Nothing is touched before `claimed`, and nothing of an older run
    is replaced before the first checkpoint of this one.

    Raises UserError, then and later, where the folder holds another run, or cannot be written to.
    """

    def __init__(self, options, dataset, device, precision, data, beside):
        """dataset: its name; data: what it is (Dataset.describe); beside: how many methods are trained side by side."""
        self.path = Path(options.out or Path("runs") / options.run_name(dataset))
        self.fresh = self.asked_fresh = options.fresh  # the first until the new run has a checkpoint
        self.config = asdict(Config(
            dataset=dataset,
            flags=asdict(options),
            run={**options.of_the_run(), "precision": precision, "device": device.type},
            data=data,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else _processor() or device.type,
            threads=torch.get_num_threads(),
            side_by_side=beside,
            versions={"python": platform.python_version(), "torch": torch.__version__,
                      **{name: version(name) for name in ("torchvision", "numpy", "scikit-learn")}},
            commit=_commit(),
            date=time.strftime("%Y-%m-%d")))

    def claimed(self):
        """A context in which no other process works in the folder."""
        try:
            mine = claim(self.path)
        except OSError as error:
            raise self.cannot_write(error) from None
        if mine is None:
            raise UserError(f"--out {self.path}: {holder(self.path) or 'another process'} works in it; wait for its end, or "
                            "give another folder")
        return mine

    def cannot_write(self, error):
        """The UserError for an OSError (or what torch makes of one) on a file of this folder."""
        return UserError(f"--out {self.path}: cannot be written to ({reason(error)}); "
                         "give a folder that can")

    def load(self):
        """(state, summary): the last checkpoint of this run, or None, and what it left in summary.json when it was done, or
        None. With --fresh both are None: the old run stands until `save`. What a killed run left half written goes."""
        for name in FILES:
            remove_leftovers(self.path / name)
        self._refuse_to_lose_files()
        if self.fresh:
            return None, None
        state = self._read_checkpoint()
        there = state.pop("config", None) if state else None
        try:
            config = json.loads(str(there)) if there else read_record(self.path / CONFIG)
        except (ValueError, RecursionError):
            raise UserError(f"{self.path / CONFIG}: not the record of a run; give another --out or --fresh") from None
        if config is None:
            return None, None
        self.refuse_another(config)
        if state and not can_be_of(state, self.config["flags"]):
            raise self.damaged()
        if config.get("threads") not in (None, self.config["threads"]):
            echo(f"notice: this run began with {config['threads']} threads and goes on with {self.config['threads']}: the "
                 "last digits will differ from those of a run that was not stopped")
        self.config = config  # what the run began with
        return state, read_summary(self.path)

    def _refuse_to_lose_files(self):
        """Raises UserError for a file that would be replaced: of a folder that is no run's, or one that a flag names."""
        there = [self.path / name for name in FILES if (self.path / name).exists()]
        is_run = (self.path / CHECKPOINT).exists() or read_config(self.path) is not None
        flags = self.config["flags"].values()
        given = {Path(word).resolve() for value in flags for word in (value if isinstance(value, list) else [value])
                 if isinstance(word, str)}
        lost = next((file for file in there if not is_run or file.resolve() in given), None)
        if lost:
            raise UserError(f"--out {self.path}: holds {lost.name}, which is no run's and would be lost; give another "
                            "folder")

    def advice(self):
        """What is true after Control-C: how to go on."""
        if self.fresh:
            return "what the folder held is as it was"
        if not (self.path / CHECKPOINT).exists():
            return "no epoch was finished, the same command starts over"
        without = " without --fresh" if self.asked_fresh else ""
        return f"the same command{without} goes on from the last checkpoint: a minute's work or an epoch is done again"

    def refuse_another(self, config):
        """Raises UserError if the config, a dictionary, is not that of a run of these flags and data."""
        try:
            old = _compared(config)
        except (KeyError, TypeError, AttributeError):
            raise UserError(f"{self.path / CONFIG}: not the record of a run; give another --out or --fresh") from None
        differing = [(name, old[name], value) for name, value in _compared(self.config).items()
                     if name in old and old[name] != json.loads(json.dumps(value))]
        if not differing:
            return
        name, there, here = differing[0]
        differs = f"{name.replace('_', '-')} is {_show(there)} there and {_show(here)} here"
        if "crc32" in name:
            differs = "its data are others (answers, truth or items)"
        flags = config.get("flags")
        for flag in GIVEN if isinstance(flags, dict) else ():
            has = [bool(each.get(flag)) for each in (flags, self.config["flags"])]
            if has[0] != has[1]:
                differs = f"it is {'with' if has[0] else 'without'} --{flag}, and this one {'with' if has[1] else 'without'}"
        raise UserError(f"{self.path} holds another run: {differs}; give another --out, or --fresh to start over")

    def _read_checkpoint(self):
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        try:
            state = load_tensors(path, sealed=True)
            if not is_state(state):
                raise ValueError("something is missing in it")
        except Exception:  # torch and zipfile raise many kinds for a file that is not one of their own
            raise self.damaged() from None
        return state

    def damaged(self):
        """The UserError for a checkpoint that is none, or not of this run."""
        return UserError(f"{self.path / CHECKPOINT}: damaged, or not a checkpoint of this program; --fresh starts over")

    def save(self, state, files):
        """Replaces the checkpoint, and writes files beside it, {name: function of an open text file}. The first time
        all files of an older run are removed."""
        try:
            if self.fresh or not (self.path / CHECKPOINT).exists():
                (self.path / SUMMARY).unlink(missing_ok=True)  # without it the old run is one that can go on
        except OSError as error:
            raise self.cannot_write(error) from None
        self.write(CHECKPOINT, lambda file: save_tensors({**state, "config": json.dumps(self.config)}, file), "wb")
        self.restore(files, clean=self.fresh)
        self.fresh = False

    def begin(self):
        """Makes the folder that of a run without checkpoints: what an older run has left goes, and config.json is
        written."""
        try:
            for name in (SUMMARY, CHECKPOINT):
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise self.cannot_write(error) from None
        self.restore({})
        self.fresh = False

    def restore(self, files, clean=True):
        """Writes config.json and the files again, of what the checkpoint holds; with `clean` all others of a run go."""
        try:
            for name in FILES if clean else ():
                if name not in (CONFIG, CHECKPOINT, SUMMARY, *files):
                    (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise self.cannot_write(error) from None
        self.write_json(CONFIG, self.config)
        for name, write in files.items():
            self.write(name, write, newline="")

    def write(self, name, write, mode="w", **opening):
        """Writes one of FILES by replace_file. Raises UserError where that fails, as on a full disk."""
        assert name in FILES, f"{name} is not in common/output/files.py"
        try:
            replace_file(self.path / name, write, mode, **opening)
        except (OSError, RuntimeError) as error:  # torch.save wraps the OSError of its file in a RuntimeError
            cause = error if isinstance(error, OSError) else error.__context__ or error
            raise self.cannot_write(cause) from None

    def write_json(self, name, value):
        self.write(name, lambda file: file.write(json.dumps(value, indent=2) + "\n"))


class Follower(RunFolder):
    """The folder of a process that is not the first of several: the first one writes."""

    def claimed(self):
        return contextlib.nullcontext()

    def load(self):
        return None, None

    def save(self, state, files):
        pass

    def restore(self, files, clean=True):
        pass

    def write(self, name, write, mode="w", **opening):
        pass


def _compared(config):
    """What must be the same for a run to go on: {name: value}; a flag may have the name of a fact about the data."""
    return {"dataset": config["dataset"], **config["run"],
            **{f"{name} of the data": value for name, value in config.get("data", {}).items()}}


def _show(value):
    if value in (None, [], ()):
        return "not given"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
