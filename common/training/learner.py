"""A method in training: its optimiser, its random numbers, its clock."""
import zlib

import numpy as np
import torch

from common.networks.classifier import Classifier, Dropout
from common.output.run_state import is_adam_state, tensor_kinds
from common.system import processes
from common.system.device import Stopwatch, seed_generators


def random_seed(seed, *keys):
    """A 64-bit seed for one use of randomness, of the run's seed and the use's name and numbers.

    Every use has a seed of its own, so a resumed run needs no generator's state, and a method's numbers do not depend
    on which others run beside it.
    """
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def generator(seed, *keys):
    return torch.Generator().manual_seed(random_seed(seed, *keys))


class Learner:
    """A method in training, in a stage and on a fold: its optimiser, its clock, its failure, the weights of the best epoch
    where one is selected. `name` is the method in the results: a student has the name of its KD-Crowd."""

    def __init__(self, name, stage, fold, method, protocol, device, executor):
        self.name, self.stage, self.fold = name, stage, fold
        self.method = method.to(device)
        self.executor = executor
        processes.same_state(self.method)
        networks = [part for part in method.modules() if isinstance(part, Classifier)]
        self.shared = [p for network in networks for p in network.body.parameters()]
        self.repeatable = not method.draws and all(part.seeded for part in networks)  # a step is the same work every time
        self.generator = None  # torch's global one, if it is not its own
        if device.type == "cpu" and processes.count() == 1 and self.repeatable:
            self.generator = torch.Generator()
            for part in method.modules():
                if isinstance(part, Dropout):
                    part.generator = self.generator
        slow = method.aggregator_parameters()
        fast = [p for p in method.parameters() if all(p is not q for q in slow)]
        groups = [{"params": fast, "lr": protocol.classifier_rate}]
        groups += [{"params": slow, "lr": protocol.aggregator_rate}] if slow else []
        self.optimizer = torch.optim.Adam(groups, fused=device.type in ("cpu", "cuda"), capturable=device.type == "cuda")
        self.watch = Stopwatch(device)
        self.seconds = 0.
        self.failure = None
        self.best = None  # {"epoch", "score", "method": its state}

    @property
    def key(self):
        """What its state is called in the checkpoint."""
        return f"{self.stage}/{self.name}/{self.fold}"

    def step(self, batch, seed, take=None):
        """Takes one Adam step on the batch. `seed` is for the method's dropout; take: the function of a Batch that does it,
        `descend` or the launch of a CUDA graph. Returns the loss, still on the device."""
        with self.watch:
            if self.generator:
                self.generator.manual_seed(seed)
            else:
                seed_generators(seed, self.watch.device)
            return (take or self.descend)(batch)

    def descend(self, batch):
        """What a step is once the generators are seeded."""
        loss = self.method.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        processes.sum_gradients(self.shared)
        self.optimizer.step()
        return loss.detach()

    def is_finite(self):
        """Whether all weights are."""
        return bool(torch.stack([parameter.isfinite().all() for parameter in self.method.parameters()]).all())

    def state(self, with_optimizer):
        return {"method": self.method.state_dict(), "seconds": self.seconds, "failure": self.failure,
                "optimizer": self.optimizer.state_dict() if with_optimizer else None, "best": self.best}

    def restore(self, state):
        """Puts the learner in a state that `state` has returned. Raises an exception of any kind for another value."""
        first, saved, optimizer = self.method.state_dict(), state["method"], state["optimizer"]
        if tensor_kinds(saved) != tensor_kinds(first):
            raise ValueError("the weights")
        unchanged = [parameter for name, parameter in self.method.named_parameters() if first[name].cpu().equal(saved[name])]
        if optimizer and not is_adam_state(optimizer, self.optimizer, unchanged):
            raise ValueError("the optimiser")
        self.method.load_state_dict(saved)
        if optimizer:
            self.optimizer.load_state_dict(optimizer)
            for group in self.optimizer.param_groups:  # a checkpoint may be older than CUDA graphs here
                group["capturable"] = self.watch.device.type == "cuda"
        seconds, failure, best = state["seconds"], state["failure"], state["best"]
        if not isinstance(seconds, float) or not isinstance(failure, str | None):
            raise ValueError("the clock or the failure")
        if best and not (isinstance(best["epoch"], int) and isinstance(best["score"], float)
                         and tensor_kinds(best["method"]) == tensor_kinds(first)):
            raise ValueError("the best epoch")
        self.seconds, self.failure, self.best = seconds, failure, best


def fold_models(learners):
    """{name: [Learner]}: the learners of one name, one for each fold."""
    found = {}
    for learner in learners:
        found.setdefault(learner.name, []).append(learner)
    return found


def fail(learners, name, failure):
    """Marks all learners of a name as failed: the other folds alone are of no use."""
    for learner in fold_models(learners)[name]:
        learner.failure = learner.failure or failure
