"""Where a run computes, in which precision, and what it costs in seconds and memory."""
import ctypes
import os
import resource
import sys
import time
from pathlib import Path

import torch

from common.system import processes
from common.system.errors import UserError, echo

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def choose_device(text):
    """The torch.device of --device: a GPU's number, a name like cpu or cuda:1, or None for GPU 0 where there is one.

    A GPU where there is no CUDA: says so and gives the CPU. Raises UserError for what does not exist.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    several, local = processes.launched()
    if several > 1 and count and text != "cpu":  # a GPU for each
        text = str(local)
    if text is None:
        return torch.device("cuda", 0) if count else torch.device("cpu")
    try:
        device = torch.device("cuda", int(text)) if text.isdecimal() else torch.device(text)
    except (RuntimeError, ValueError, OverflowError):
        raise UserError(f"--device {text}: expected the number of a GPU, or cpu, cuda:0, ...") from None
    if device.type == "cuda":
        if not count:
            echo(f"--device {text}: no CUDA here, running on the CPU")
            return torch.device("cpu")
        index = device.index or 0
        if index >= count:
            there = ", ".join(f"{i} ({torch.cuda.get_device_name(i)})" for i in range(count))
            raise UserError(f"--device {text}: there is no such GPU, there is {there}")
        return torch.device("cuda", index)
    if device.type != "cpu":
        try:
            # what cannot be read back, as of meta, is no place to compute, nor what has no float64, as mps
            torch.zeros(1, dtype=torch.float64, device=device).item()
        except Exception:  # each backend that torch knows by name raises a kind of its own
            raise UserError(f"--device {text}: this machine has no such device, or one without float64; try cpu") from None
    return device


def settle(device):
    """Before the first use of a device: makes a GPU the current one and its results the same in every run, in float32 where
    that is asked for, not TF32. On a CPU all of this is so, and a step's memory is kept for the next one.

    What has no deterministic kernel on a GPU runs nevertheless: torch warns of it, once.
    """
    if device.type == "cpu":
        keep_freed_memory()
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts; without it sums may differ
    torch.cuda.set_device(device)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def keep_freed_memory():
    """Lets glibc keep what a training step frees, up to 1 GB, for the next step. By default each tensor of some megabytes is
    mapped anew, and touching its pages for the first time may take as long as the arithmetic. With M_MMAP_THRESHOLD, which
    is 32 MB at the most, those of larger tensors still would be. Elsewhere nothing is done."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library: macOS, musl, Windows
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**30)


def seed_generators(seed, device):
    """Seeds the generators that a step on the device draws from: the CPU's, which torch's functions take by default, and
    the device's own. torch.manual_seed does the same for all devices there might be, and takes fifty times as long."""
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)


def choose_precision(name, device):
    """--precision: auto is bfloat16 where the hardware multiplies it natively, else float32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device)[0] >= 8
    else:
        cpuinfo = Path("/proc/cpuinfo")
        flags = cpuinfo.read_text().split() if device.type == "cpu" and cpuinfo.exists() else ()
        native = "amx_bf16" in flags or "avx512_bf16" in flags
    return "bfloat16" if native else "float32"


def peak_memory_mb(device):
    """The most memory that the process has held so far, on a GPU what its allocator has held there, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class Stopwatch:
    """Adds up the seconds of the blocks it surrounds; on a GPU by events, without waiting for the device."""

    def __init__(self, device):
        self.device = device
        self.blocks = []

    def _mark(self):
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def __enter__(self):
        self.start = self._mark()

    def __exit__(self, *_):
        self.blocks.append((self.start, self._mark()))

    def read(self):
        """The seconds since the last reading; waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            seconds = sum(start.elapsed_time(stop) for start, stop in self.blocks) / 1000
        else:
            seconds = sum(stop - start for start, stop in self.blocks)
        self.blocks = []
        return seconds
