"""Runs the scripts as users do, and makes small real files for them."""
import importlib.util
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: two processes with two threads each are slower

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from common.system.errors import launch  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
for folder in (*(path for path in sorted((ROOT / "tests").iterdir()) if path.is_dir()),  # tests share what they make
               *(ROOT / name for name in ("Digits", "Cifar10", "labelme", "DogsVsCats", "LUNA16", "OwnData", "benchmarks")),
               ROOT):
    sys.path.insert(0, str(folder))


EACH_EPOCH = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT)!r})
from common.training import loop
loop.CHECKPOINT_SECONDS = 0
del sys.argv[0]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def load_script(folder, name="main.py"):
    """The module of a data set's script: each has one of the name main.py."""
    spec = importlib.util.spec_from_file_location(f"{folder}_script", ROOT / folder / name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def start(tmp_path):
    """start("Digits", "--epochs", 2) starts Digits/main.py in tmp_path; one thread, its own cache folder. With each_epoch it
    writes a checkpoint after every epoch."""
    def start_script(script, *arguments, cwd=tmp_path, each_epoch=False, **how):
        script = ROOT / script if script.endswith(".py") else ROOT / script / "main.py"
        environment = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
        program = [sys.executable, *(["-c", EACH_EPOCH] if each_epoch else []), str(script)]
        return subprocess.Popen([*program, *map(str, arguments)], cwd=cwd, env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
    return start_script


@pytest.fixture
def shell(start):
    """Like `start`, but waits for the end: what comes back has returncode, stdout and stderr."""
    def run_script(script, *arguments, **how):
        process = start(script, *arguments, **how)
        stdout, stderr = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    return run_script


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Like `shell`, but in this process, where torch is imported already; also with one thread."""
    def run_script(script, *arguments):
        folder, _, name = script.rpartition("/") if script.endswith(".py") else (script, "", "main.py")
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2)]
        threads = torch.get_num_threads()
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
            patch.setenv("OMP_NUM_THREADS", "1")
            for stream, name_of_stream in zip(streams, ("stdout", "stderr"), strict=True):
                patch.setattr(sys, name_of_stream, stream)
            patch.setattr(sys, "argv", [script, *map(str, arguments)])
            torch.set_num_threads(1)
            try:
                launch(load_script(folder, name).main)
            except SystemExit as end:
                status = end.code
            finally:
                torch.set_num_threads(threads)
        stdout, stderr = (stream.buffer.getvalue().decode() for stream in streams if stream.flush() is None)
        return subprocess.CompletedProcess(sys.argv, status or 0, stdout, stderr)
    return run_script


def cifar_images(count, seed):
    """uint8 (count, 3072) and labels that go through the classes; a class can be told by its mean brightness."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    rows = np.clip(random.normal(20 + 22 * labels[:, None], 12, (count, 3072)), 0, 255).astype(np.uint8)
    return rows, labels.tolist()


@pytest.fixture
def cifar_folder(tmp_path):
    """A folder with cifar-10-batches-py/: five batches of 40 images and a test batch of 40."""
    batches = tmp_path / "data" / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    for seed, name in enumerate([f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]):
        rows, labels = cifar_images(40, seed)
        with open(batches / name, "wb") as file:
            pickle.dump({"batch_label": name, "labels": labels, "data": rows, "filenames": ["a.png"] * 40}, file, 2)
    return tmp_path / "data"


@pytest.fixture
def write(tmp_path):
    """write(content, name): the path of a file with this text or these bytes."""
    def write_file(content, name="answers.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)
    return write_file
