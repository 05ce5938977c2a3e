"""The whole run of a command: checks, the folder, resuming, training."""
import contextlib

import torch

from common.names import AUTO, TEACHERS, UPPER_BOUND, WITH_DIVERGENCE
from common.networks.classifier import multiplications
from common.output import console
from common.output.run_folder import Follower, RunFolder
from common.system import processes
from common.system.device import choose_device, choose_precision, settle
from common.system.errors import UserError, echo
from common.training.cuda_graphs import GraphExecutor
from common.training.estimates import check_label_source
from common.training.executor import SERIAL, Executor
from common.training.experiment import Experiment
from common.training.loop import files_of, train
from common.training.options import Options
from common.training.selection import make_plan

LITTLE = 5e8  # multiplications forward in a step: some ten milliseconds of one core
MUCH = 1e11  # from so many on the GPU is the limit, not the CPU that launches its kernels


def run(dataset, protocol, options):
    """Trains options.methods on the Dataset as the Protocol says and leaves the results in the run's folder.

    Goes on where an earlier run of the same command stopped. Everything is checked before the folder is touched. Returns the
    exit status: 1 if no method came through.
    """
    device = check(dataset, protocol, options)
    settle(device)
    processes.join(device)
    precision = choose_precision(options.precision, device)
    threads = torch.get_num_threads()
    try:
        return run_on(dataset, protocol, options, device, precision)
    finally:
        torch.set_num_threads(threads)


def check(dataset, protocol, options):
    """Raises UserError for flags that do not go with the data or the machine. Leaves a true-label out of options.methods
    where no truth is known. Returns the device."""
    if UPPER_BOUND in options.methods and not (dataset.train.truth >= 0).any():
        options.methods = [name for name in options.methods if name != UPPER_BOUND]
        if not options.methods:
            raise UserError("--methods true-label: no training item's true label is known; choose another method, or give "
                            "the truth")
        echo("true-label is left out: no training item's true label is known")
    if options.stage_end == "selected" and options.select == "none":
        raise UserError("--stage-end selected: needs an epoch that is selected; add --select, or leave it out")
    if options.patience not in (None, protocol.patience) and options.select == "none":
        raise UserError(f"--patience {options.patience}: needs an epoch that is selected; add --select, or leave it out")
    if options.start == AUTO and options.select != "crowd":
        raise UserError("--start auto: needs --select crowd, by which it chooses; add it")
    unused = [] if any(name in TEACHERS for name in options.methods) else options.changed("KD-Crowd")
    if unused:
        echo(f"{', '.join(unused)}: no effect without KD-Crowd; add a method such as kd-crowd-max-mig to --methods")
    if options.divergence != Options.divergence and not WITH_DIVERGENCE & set(options.methods):
        echo("--divergence: no effect without max-mig or KD-Crowd; add one to --methods")
    check_label_source(options)
    device = choose_device(options.device)
    least = min(len(fold.train) for fold in make_plan(dataset.train, options).folds)
    if least < 2:
        raise UserError(f"{len(dataset.train)} items to train on, of which a fold has {least}; expected at least two in "
                        "each: more items with answers, or --select none")
    if options.batch_size > least:
        raise UserError(f"--batch-size {options.batch_size}: larger than the training set of {least} items; expected at "
                        f"most {least}")
    if options.augment != "none" and not dataset.train.inputs.augmentation:
        raise UserError(f"--augment {options.augment}: {protocol.name} has features, not images; there is only none")
    return device


def run_on(dataset, protocol, options, device, precision):
    """The rest of `run`, on a device."""
    if options.batch_size < processes.count():
        raise UserError(f"--batch-size {options.batch_size}: fewer than the {processes.count()} processes that share it")
    executor = choose_executor(dataset.train, protocol, options, device, precision)
    folder = (Follower if processes.rank() else RunFolder)(
        options, protocol.name, device, precision, dataset.describe(), executor.count)
    with folder.claimed(), with_advice(folder):
        state, summary = processes.from_first(folder.load())
        if summary:
            if state:
                folder.restore(files_of(state, dataset), clean=False)
            console.say_done(summary, folder)
            status = 0
        else:
            if state:
                folder.restore(files_of(state, dataset))
            try:
                dataset = dataset.to(device, options.keep)
                plan = make_plan(dataset.train, options)
                experiment = Experiment(dataset, protocol, options, plan, device, precision, executor)
                status = train(experiment, folder, state)
            finally:
                executor.release()
        processes.leave()
        return status


@contextlib.contextmanager
def with_advice(folder):
    """A context in which Control-C says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(folder.advice()) from None


def choose_executor(train, protocol, options, device, precision):
    """The Executor for a run on the training Items.

    On a CPU: if a step is little work, each learner has a thread of its own and torch's number of threads is set to one;
    else one learner at a time has all threads. On a GPU: CUDA graphs, unless a step alone keeps the GPU busy, items have
    different numbers of labels, or --graphs is off.
    """
    if processes.count() > 1 or device.type not in ("cpu", "cuda"):
        return SERIAL
    counts = train.crowd.counts
    if device.type == "cuda" and (options.graphs == "off" or (counts != counts[0]).any()):
        return SERIAL
    work = multiplications(protocol.classifier(precision), train.inputs.batch(slice(0, 1))) * options.batch_size
    if work > (MUCH if device.type == "cuda" else LITTLE):
        return SERIAL
    if device.type == "cuda":
        return GraphExecutor(device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    return Executor(min(threads, len(options.methods)))
