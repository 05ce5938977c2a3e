"""Runs the scripts as users do, and makes small real files for them."""
import contextlib
import functools
import gc
import importlib.util
import io
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: two processes with two threads each are slower

import jinja2  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from tqdm import tqdm  # noqa: E402

from common.system.errors import launch  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
for folder in (*(path for path in sorted((ROOT / "tests").iterdir()) if path.is_dir()),  # tests share what they make
               *(ROOT / name for name in ("Digits", "Cifar10", "labelme", "DogsVsCats", "LUNA16", "OwnData", "benchmarks")),
               ROOT):
    sys.path.insert(0, str(folder))


Popen = subprocess.Popen  # tests replace it


# --- what the whole suite takes -------------------------------------------------------------------------------------

def pytest_xdist_auto_num_workers(config):
    """Two processes for the whole suite or a folder. A few files take less time without a second import of torch."""
    return 2 if any(Path(argument).is_dir() for argument in config.args) else 0


LONG = ("test_killed_at_every_kind_of_write", "test_the_benchmark_runs_every_stage", "test_the_readme_s_example",
        "test_a_run_of_all_methods_and_its_resumption", "test_the_number_of_threads_changes_nothing")


def pytest_collection_modifyitems(items):
    """The longest tests first: begun last, one leaves the other process without work."""
    items.sort(key=lambda item: item.originalname not in LONG)


@functools.cache
def quick_pictures():
    """Make pictures small and without a layout, which halves a short run. Their texts and lines are still drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def save(figure, file, **_):
        figure.set_layout_engine("none")
        figure.set_dpi(20)
        FigureCanvasAgg(figure).print_png(file)  # savefig draws twice
    return Figure.savefig, save


def pytest_runtest_setup(item):
    """The first pictures of a process are whole, and those of tests marked `pictures`."""
    if "common.output.plots" in sys.modules:
        whole, quick = quick_pictures()
        sys.modules["matplotlib.figure"].Figure.savefig = whole if item.get_closest_marker("pictures") else quick


@pytest.fixture
def blank_pictures(request, monkeypatch):
    """Draw no picture of a run, for tests of numbers: pictures take a third of a short run. Tests marked `pictures` have
    theirs."""
    if not request.node.get_closest_marker("pictures"):
        from common.output import plots
        for name in ("curves", "confusions", "memorization", "annotator_error"):
            monkeypatch.setattr(plots, name, lambda file, *_, **__: file.write(b"\x89PNG\r\n\x1a\n"))


@pytest.fixture(autouse=True, scope="session")
def quick_runs(tmp_path_factory):
    """Compile the template of report.html once, not in each run. Do not wait for the disk: processes are killed here, no
    power is cut."""
    cache = jinja2.FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        patch.setattr(jinja2, "Environment", functools.partial(jinja2.Environment, bytecode_cache=cache))
        yield


# --- processes ------------------------------------------------------------------------------------------------------

def hear_control_c():
    """A shell starts what it runs in the background deaf to Control-C, and so the tests perhaps."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def call(function, *arguments, anew=False, **how):
    """subprocess.Popen of function(*arguments), a function of a module here. It runs in a fork of this process, which has
    imported torch; in a new Python with `anew`, and where there is CUDA, which does not survive a fork."""
    if anew or torch.cuda.is_available():
        program = (f"import sys; sys.path[:0] = {sys.path!r}; import {function.__module__} as module; "
                   f"sys.exit(module.{function.__name__}(*{arguments!r}))")
        return Popen([sys.executable, "-c", program], preexec_fn=hear_control_c, **how)
    for late in ("torch._dynamo", "common.training.run"):  # what a run imports late takes seconds in each child
        importlib.import_module(late)
    kept = {0, 1, 2, *how.get("pass_fds", ())}

    def child():
        for number in map(int, os.listdir("/dev/fd")):
            if number not in kept:
                with contextlib.suppress(OSError):
                    os.close(number)  # Popen waits for one of them
        gc.freeze()  # nothing of the parent's closes a file that has one of these numbers now
        tqdm.set_lock(threading.RLock())  # the parent's is shared: a child killed while it holds it would stop the parent
        os.environ.update(how.get("env") or {})
        for name in os.environ.keys() - (how.get("env") or os.environ).keys():
            del os.environ[name]
        for number, name in ((1, "stdout"), (2, "stderr")):
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        hear_control_c()
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as a new Python has it; Popen gave the system's
        status = 1
        try:
            status = function(*arguments) or 0
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):  # a closed stream is None
                    stream.flush()
            os._exit(status)
    return Popen([function.__name__], preexec_fn=child, **how)


def kill_at_checkpoint(number):
    """Has this process kill itself where it would write its checkpoint of that number, from 0 on."""
    from common.output.run_folder import RunFolder
    numbers, save = itertools.count(), RunFolder.save

    def save_or_die(*arguments):
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        save(*arguments)
    RunFolder.save = save_or_die


def run_script(script, arguments, each_epoch=False, killed_at=None):
    """Runs a script of this repository in this process, as `python3 script *arguments` does."""
    folder, _, name = script.rpartition("/")
    if each_epoch:
        from common.training import loop
        loop.CHECKPOINT_SECONDS = 0
    if killed_at is not None:
        kill_at_checkpoint(killed_at)
    sys.argv = [script, *arguments]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))  # torch read it before the fork
    launch(load_script(folder, name).main)


@contextlib.contextmanager
def forking():
    """What starts scripts of this repository by subprocess.Popen in the `with` has them in forks, as `call` has."""
    def popen(program, **how):
        if list(program[:1]) == [sys.executable] and Path(program[1]).is_relative_to(ROOT):
            return call(run_script, str(Path(program[1]).relative_to(ROOT)), program[2:], **how)
        return Popen(program, **how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", popen)
        yield


@pytest.fixture
def forked_scripts():
    with forking():
        yield


def load_script(folder, name="main.py"):
    """The module of a data set's script: each has one of the name main.py."""
    spec = importlib.util.spec_from_file_location(f"{folder}_script", ROOT / folder / name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def start(tmp_path):
    """start("Digits", "--epochs", 2) starts Digits/main.py in tmp_path, as `call` does; one thread, its own cache folder.
    With each_epoch it writes a checkpoint after every epoch; with killed_at it gets SIGKILL where it would write the
    checkpoint of that number, from 0 on."""
    def start_script(script, *arguments, cwd=tmp_path, each_epoch=False, killed_at=None, anew=False, **how):
        script, arguments = script if script.endswith(".py") else f"{script}/main.py", list(map(str, arguments))
        how = {"cwd": cwd, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
               "env": os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}} | how
        if anew:
            return Popen([sys.executable, str(ROOT / script), *arguments], **how)
        return call(run_script, script, arguments, each_epoch, killed_at, **how)
    return start_script


@pytest.fixture
def shell(start):
    """Like `start`, but waits for the end: what comes back has returncode, stdout and stderr."""
    def run(script, *arguments, **how):
        process = start(script, *arguments, **how)
        try:
            stdout, stderr = process.communicate()
        except BaseException:  # the test's time is up
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    return run


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Like `shell`, but in this process, where torch is imported already; also with one thread."""
    def run(script, *arguments):
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
    return run


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
