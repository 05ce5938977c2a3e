"""What a GPU makes of the project, in the order in which it is worth knowing; an answer is written as soon as it is there.

    python3 benchmarks/gpu.py --minutes 25 --out DIR [--path CIFAR10DIR] [--stages NAME ...] [--device 0]

DIR gets a file of JSON lines and a log for each stage, and table.md. A stage is a process of its own that is ended when its
share of the time is up: what it has found until then stays, and the next one begins. On a CPU everything is cut down to
some seconds, to see that it runs. The stages:

    agreement   one step of every method in float64 on the CPU and on the GPU: how far losses and gradients differ
    repeat      the same run twice, kernel by kernel, stopped and resumed: whether all weights and metrics are the same, bit
                for bit
    steps       milliseconds a step, kernels a step, and the share of the time in which the GPU works
    jobs        the same six cells with reproduce.py --jobs 1, 3 and 6
    graph       recorded steps, the methods' side by side, against those launched kernel by kernel: bit for bit, and in time
    prediction  images a second in batches of 64 to 1,024
    cifar10     max-mig and true-label on CIFAR-10 with the paper's 50 epochs (needs --path); where the time does not do,
                cifar10/metrics.csv says how far they came
"""
import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_stages import Bench, agreement, cifar10, graph, jobs, prediction, repeat, steps

from common.system.device import choose_device, settle
from common.training.options import whole

STAGES = {agreement: .08, repeat: .12, steps: .14, jobs: .2, graph: .16, prediction: .04, cifar10: 1.}  # of the minutes


def work_in_child(stage, arguments):
    """The stage's process: its rows to NAME.jsonl, what it prints to NAME.log."""
    os.setsid()
    tqdm.set_lock(threading.RLock())  # ours is shared: a stage killed while it holds it would stop us
    log = os.open(arguments.out / f"{stage.__name__}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)  # what it starts writes there too
    sys.stdout = sys.stderr = os.fdopen(log, "w", buffering=1)
    device = choose_device(arguments.device)
    settle(device)
    with open(arguments.out / f"{stage.__name__}.jsonl", "w") as file:
        for row in stage(Bench(device, arguments.out, arguments.path)):
            file.write(json.dumps({**row, "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
                                   "torch": torch.__version__}) + "\n")
            file.flush()


def run_stage(stage, arguments, seconds):
    """The stage in a process for so many seconds at the most. Returns what became of it."""
    child = multiprocessing.get_context("fork").Process(target=work_in_child, args=(stage, arguments))
    child.start()
    child.join(seconds)
    status = "done" if child.exitcode == 0 else "time was up" if child.is_alive() else f"failed, see {stage.__name__}.log"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # what it has started, too
    child.join()
    return status


def table(name, status, file):
    """A Markdown table of a stage's rows."""
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rows = [{key: value for key, value in row.items() if key not in ("device", "torch")} for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))

    def cell(value):
        return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    lines = [f"| {' | '.join(cell(row.get(key)) for key in columns)} |" for row in rows]
    head = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)] if rows else []
    return "\n".join([f"\n## {name}: {status}\n", *head, *lines, ""])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {stage.__name__: stage for stage in STAGES}
    parser.add_argument("--minutes", type=whole(1), default=25, help="for all stages together (default: 25)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--path", metavar="DIR", help="CIFAR-10, as Cifar10/main.py takes it")
    parser.add_argument("--stages", nargs="+", choices=names, default=[*names], help="by default all, in this order")
    parser.add_argument("--device", help="number of a GPU, or cpu; by default GPU 0 where there is one")
    arguments = parser.parse_args(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    with open(arguments.out / "table.md", "w") as file:
        for name in arguments.stages:
            limit = min(STAGES[names[name]] * 60 * arguments.minutes, end - time.monotonic())
            started = time.monotonic()
            status = run_stage(names[name], arguments, limit) if limit > 0 else "no time was left"
            status += f", {time.monotonic() - started:.0f} s"
            text = table(name, status, arguments.out / f"{name}.jsonl")
            print(text, flush=True)
            file.write(text)
            file.flush()


if __name__ == "__main__":
    main()
