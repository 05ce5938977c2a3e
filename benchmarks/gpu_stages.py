"""The stages of gpu.py: functions of a Bench that yield their rows, dictionaries, as they come."""
import csv
import json
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import reproduce
from common.crowd.labels import CrowdLabels, vote_shares
from common.data.dataset import Dataset, Items
from common.data.images import Augmentation, ImageSet
from common.kd_crowd.registry import ROBUST
from common.methods.method import Batch, Constants, Distillation, Setting
from common.methods.registry import METHODS
from common.names import SYNTHESIZED_METHODS
from common.networks.classifier import Classifier
from common.networks.papers import four_conv, vgg16
from common.output.files import CHECKPOINT
from common.output.run_folder import RunFolder
from common.system.device import choose_precision
from common.training import cuda_graphs, loop
from common.training.cuda_graphs import WORTHWHILE, GraphExecutor
from common.training.executor import SERIAL
from common.training.learner import Learner
from common.training.options import Options
from common.training.protocol import Protocol
from common.training.run import run

KINDS = METHODS | ROBUST
TIMED = (*SYNTHESIZED_METHODS, "kd-crowd-max-mig", "elr", "dividemix")
ANNOTATORS = 10


def tiny(precision):
    """What stands for the networks where all is cut down."""
    body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.Flatten())
    return Classifier(body, nn.Linear(64, 10), precision)


@dataclass(frozen=True)
class Workload:
    """A network, its batch, the side of its images, its classes."""
    name: str
    network: object
    batch: int
    side: int
    classes: int

    @property
    def protocol(self):
        return Protocol(self.name, self.network, 1, self.batch, 1e-3, 1e-4, (1 / self.classes,) * self.classes,
                        SYNTHESIZED_METHODS, crowd_layer_start="aggregator")

    def items(self, count, seed=0):
        """Items of random images; ten annotators are right seven times of ten."""
        random = np.random.default_rng(seed)
        truth = np.arange(count) % self.classes
        labels = np.where(random.random((count, ANNOTATORS)) < .7, truth[:, None],
                          random.integers(0, self.classes, (count, ANNOTATORS)))
        images = torch.from_numpy(random.integers(0, 256, (count, self.side, self.side, 3), np.uint8))
        return Items(ImageSet(images, (.5,) * 3, (.25,) * 3, Augmentation(True, 15)), torch.from_numpy(truth),
                     list(map(str, range(count))), CrowdLabels.from_dense(labels, self.classes))

    def learner(self, name, train, device, precision):
        """A Learner of the method or student, taught the shares of the votes; the same weights every time."""
        torch.manual_seed(0)
        setting = Setting(lambda: self.network(precision), train.crowd, train.truth,
                          torch.tensor(self.protocol.prior, device=device), 50, 3 * self.side**2,
                          Constants(crowd_layer_start="aggregator"), Distillation(vote_shares(train.crowd), weight=3.))
        learner = Learner(name, 0, 0, KINDS[name](setting), self.protocol, device, SERIAL)
        learner.method.train()
        return learner

    def batches(self, train, count):
        """[Batch] of augmented images, in turn."""
        maps = train.inputs.draw(torch.Generator().manual_seed(0))
        order = torch.arange(count * self.batch, device=train.truth.device) % len(train)
        crowds = train.crowd.select(order).batches(self.batch)
        return [Batch(items, train.inputs.batch(items, maps[items]), crowd, lambda items=items: train.inputs.view(items))
                for items, crowd in zip(order.split(self.batch), crowds, strict=True)]


TINY = Workload("tiny", tiny, 8, 8, 10)
VGG, FOUR = Workload("vgg16", vgg16, 64, 32, 10), Workload("four-conv", four_conv, 16, 150, 2)


@dataclass(frozen=True)
class Bench:
    """Where, and how much: everything on a GPU, cut down elsewhere."""
    device: torch.device
    out: Path
    path: str | None

    @property
    def whole(self):
        return self.device.type == "cuda"

    @property
    def workloads(self):
        return (VGG, FOUR) if self.whole else (TINY,)

    def seconds(self, work, times):
        """Of one work() in so many, after three that do not count."""
        for k in range(3 + times):
            if k == 3:
                self.wait()
                started = time.perf_counter()
            work(k)
        self.wait()
        return (time.perf_counter() - started) / times

    def wait(self):
        if self.whole:
            torch.cuda.synchronize(self.device)


def agreement(bench):
    work = replace(VGG, batch=16) if bench.whole else TINY
    items = work.items(work.batch)
    for name in (*KINDS, "dividemix, warm"):
        found = []
        for device in (torch.device("cpu"), bench.device):
            train = items.to(device)
            learner = work.learner(name.split(",")[0], train, device, "float32")
            if name.endswith("warm"):
                learner.method.epoch = learner.method.warm_up
            loss = learner.step(in_double(learner, work.batches(train, 1)[0]), 0)
            gradients = [p.grad.flatten().cpu() for p in learner.method.parameters() if p.grad is not None]
            found.append((loss.item(), torch.cat(gradients)))
        (loss, gradient), (other_loss, other) = found
        yield {"method": name, "loss": loss, "loss_error": abs(loss - other_loss) / abs(loss),
               "gradient_error": ((gradient - other).norm() / gradient.norm()).item()}


def in_double(learner, batch):
    """The batch in float64, and the learner's method too. In float32 the gradients of VGG-16 for images of noise are .01 off
    those in float64 on a CPU as well: what devices do differently would not show."""
    learner.method.double()
    for part in learner.method.modules():
        if isinstance(part, Classifier):
            part._features = part.body.__call__  # as it is, without what makes float32 of it
    return replace(batch, inputs=batch.inputs.double(), view=lambda: batch.view().double())


def stop_after(saves):
    """A RunFolder.save that ends the run after so many."""
    save, done = RunFolder.save, []

    def saving(self, *arguments):
        save(self, *arguments)
        done.append(1)
        if len(done) == saves:
            raise KeyboardInterrupt
    return saving


def repeat(bench):
    stops = ("again", None), ("kernel by kernel", None), ("stopped in stage 0", 2), ("stopped in stage 1", 4)
    if bench.whole:
        yield from repeat_one(bench, VGG, 640, ["max-mig", "kd-crowd-max-mig"], stops)
        yield from repeat_one(bench, TINY, 40, [*METHODS], stops)
    else:
        yield from repeat_one(bench, TINY, 40, ["kd-crowd-max-mig"], stops[3:])


def repeat_one(bench, work, count, methods, stops):
    """The runs of a workload: after so many checkpoints, one each epoch, they are stopped, and go on."""
    dataset = Dataset(work.items(count), work.items(count // 2, 1), [*map(str, range(10))], [*map(str, range(ANNOTATORS))])
    said, save = [], RunFolder.save
    loop.CHECKPOINT_SECONDS = cuda_graphs.WORTHWHILE = 0  # always

    def train(name):
        out = bench.out / "repeat" / f"{work.name}-{name.replace(' ', '-')}"
        options = Options(methods=methods, batch_size=work.batch, epochs=3, augment="fresh", robust="dividemix", fresh=True,
                          device=str(bench.device), graphs="off" if name == "kernel by kernel" else "auto", out=str(out))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                run(dataset, work.protocol, options)
            except KeyboardInterrupt:
                RunFolder.save = save
                run(dataset, work.protocol, replace(options, fresh=False))
        said.extend(str(w.message).split(". You can")[0] for w in caught if "determinis" in str(w.message))
        with open(out / "metrics.csv", newline="") as file:
            rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
        learners = torch.load(out / CHECKPOINT, weights_only=True)["learners"]
        return rows, {(key, name): tensor for key, state in learners.items() for name, tensor in state["method"].items()}
    rows, weights = train("first")
    for name, saves in stops:
        RunFolder.save = stop_after(saves) if saves else save
        other_rows, other = train(name)
        differ = sorted({key for (key, part), tensor in weights.items() if not torch.equal(tensor, other[key, part])})
        yield {"network": work.name, "run": name, "same_metrics": rows == other_rows, "same_weights": not differ,
               "differ": differ[:9], "warnings": sorted(set(said))}


def steps(bench):
    count = 50 if bench.whole else 2
    for work in bench.workloads:
        train = work.items(16 * work.batch if bench.whole else 16).to(bench.device)
        batches = work.batches(train, 8)
        for precision in {choose_precision("auto", bench.device), "float32"}:
            for name in TIMED:
                learner = work.learner(name, train, bench.device, precision)
                if name == "dividemix":
                    learner.method.epoch = learner.method.warm_up

                def step(k, learner=learner, batches=batches):
                    learner.step(batches[k % len(batches)], k)
                seconds = bench.seconds(step, count)
                yield {"network": work.name, "precision": precision, "method": name, "ms": 1000 * seconds,
                       **(launched(bench, step, seconds) if bench.whole else {})}


def launched(bench, step, seconds, times=10):
    """{"kernels", "busy"}: how many kernels a step launches, and for which share of its seconds the GPU runs them."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for k in range(times):
            step(k)
        bench.wait()
    kernels = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA
               and not getattr(e, "is_user_annotation", False)]
    return {"kernels": len(kernels) / times, "busy": sum(e.time_range.elapsed_us() for e in kernels) / 1e6 / times / seconds}


def jobs(bench):
    cells = ["digits", "--seeds", "2", "--cases", "1,2,3", "--epochs", "30"]
    if bench.path:
        cells = ["cifar10", "--path", bench.path, "--seeds", "2", "--cases", "1,2,3", "--epochs", "2", "--train-size",
                 "10000"]
    if not bench.whole:
        cells = ["digits", "--seeds", "1", "--cases", "1", "--epochs", "1", "--train-size", "100", "--methods", "max-mig",
                 "--device", "cpu"]
    for number in (1, 3, 6) if bench.whole else (1,):
        started = time.perf_counter()
        status = reproduce.main([*cells, "--expertise", "1", "--jobs", str(number), "--out",
                                 str(bench.out / f"jobs-{number}")])
        yield {"jobs": number, "cells": cells[0], "status": status, "seconds": time.perf_counter() - started}


def graph(bench):
    count = 20 if bench.whole else 4
    timed = {"the paper's": SYNTHESIZED_METHODS} | {name: [name] for name in TIMED if name != "dividemix"}
    every = {"all": sorted(KINDS.keys() - {"dividemix"})}
    for work, groups in (*((work, timed) for work in bench.workloads), (TINY, every)):
        train = work.items(16 * work.batch if bench.whole else 16).to(bench.device)
        batches = work.batches(train, count)
        for title, names in groups.items():
            yield {"network": work.name, "methods": title, **compare(bench, work, names, train, batches)}


def compare(bench, work, names, train, batches):
    """{"same", "first_different", "eager_ms", "graph_ms"}: recorded steps of methods side by side against those launched
    kernel by kernel, from the same start. On a CPU nothing is recorded."""
    precision = choose_precision("auto", bench.device)
    ways = SERIAL, GraphExecutor(bench.device) if bench.whole else SERIAL
    sides, different = [[work.learner(name, train, bench.device, precision) for name in names] for _ in ways], None
    for k, batch in enumerate(batches):
        losses = []
        for executor, learners in zip(ways, sides, strict=True):
            if k == len(batches) // 2:
                loop.end_epoch(learners, train)
                for learner in learners:
                    learner.method.train()
                executor.begin_epoch(learners, WORTHWHILE)
            losses.append(torch.stack(executor.step(learners, batch, dict.fromkeys(learners, k))))
        if different is None and not torch.equal(*losses):
            different = k
    same = all(torch.equal(tensor, other.method.state_dict()[key]) for one, other in zip(*sides, strict=True)
               for key, tensor in one.method.state_dict().items())
    times = [1000 * bench.seconds(lambda k, executor=executor, learners=learners: executor.step(
        learners, batches[k % len(batches)], dict.fromkeys(learners, k)), len(batches))
        for executor, learners in zip(ways, sides, strict=True)]
    return {"same": same and different is None, "first_different": different, "eager_ms": times[0], "graph_ms": times[1]}


@torch.no_grad()
def prediction(bench):
    for work in bench.workloads:
        images = work.items(4096 if bench.whole else 32).to(bench.device)
        method = work.learner("max-mig", images, bench.device, choose_precision("auto", bench.device)).method.eval()
        for size in (64, 256, 1024) if bench.whole else (8, 32):
            def predict(_, size=size, method=method, inputs=images.inputs):
                for start in range(0, len(inputs), size):
                    method.predict(inputs.batch(slice(start, start + size)))
            yield {"network": work.name, "batch": size, "images_a_second": len(images) / bench.seconds(predict, 3)}


def cifar10(bench):
    if not bench.path:
        yield {"skipped": "no --path"}
        return
    out = bench.out / "cifar10"
    flags = ["--path", bench.path, "--case", "2", "--expertise", "1", "--methods", "max-mig,true-label", "--out", str(out),
             "--device", str(bench.device), *(() if bench.whole else ("--epochs", "1", "--train-size", "64", "--test-size",
                                                                      "20", "--precision", "float32"))]
    status = reproduce.load_script("cifar10").main(flags)
    summary = json.loads((out / "summary.json").read_text())
    for name, method in summary["methods"].items():
        yield {"method": name, "status": status, "seconds": summary["seconds"], "last": method["last"],
               "training_labels": method["train_label_accuracy"]}
