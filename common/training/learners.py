"""Methods in training: their random numbers, their optimisers, the three stages of KD-Crowd, predictions for a set."""
import zlib
from dataclasses import replace

import numpy as np
import torch

from common.methods import METHODS, Setting
from common.robust import ROBUST
from common.training.device import Stopwatch

EVALUATION_BATCH = 64
STAGES = 3  # of KD-Crowd: the crowd model, its student, the crowd model taught by it; all else is trained in stage 0


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
    """A method in training under the name of what it is trained for: its optimiser, its clock, what became of it."""

    def __init__(self, name, stage, method, protocol, device):
        self.name, self.stage = name, stage
        self.method = method.to(device)
        slow = method.aggregator_parameters()
        fast = [p for p in method.parameters() if all(p is not q for q in slow)]
        groups = [{"params": fast, "lr": protocol.classifier_rate}]
        groups += [{"params": slow, "lr": protocol.aggregator_rate}] if slow else []
        self.optimizer = torch.optim.Adam(groups, fused=device.type in ("cpu", "cuda"))
        self.watch = Stopwatch(device)
        self.seconds = 0.
        self.failure = None

    def step(self, batch, seed):
        """One step of Adam on the batch. `seed` is for the method's dropout. Returns the loss, still on the device."""
        with self.watch:
            torch.manual_seed(seed)
            loss = self.method.loss(batch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return loss.detach()

    def state(self, with_optimizer):
        return {"method": self.method.state_dict(), "seconds": self.seconds, "failure": self.failure,
                "optimizer": self.optimizer.state_dict() if with_optimizer else None}

    def restore(self, state):
        self.method.load_state_dict(state["method"])
        if state["optimizer"]:
            self.optimizer.load_state_dict(state["optimizer"])
        self.seconds, self.failure = state["seconds"], state["failure"]


def build_stage(stage, earlier, dataset, protocol, options, device, precision):
    """[Learner] of a stage. `earlier` are those of the stages before, [[Learner], ...].

    All classifiers of stage 0 start from the same weights. A student of stage 1 is taught the predictions of its
    teacher in stage 0; in stage 2 the crowd model goes on from there and is taught those of its student. Where an
    earlier learner failed there is none.
    """
    train = dataset.train
    setting = Setting(lambda: protocol.network(precision), train.crowd, train.truth,
                      torch.tensor(protocol.prior, device=device), protocol.learn_prior, protocol.smoothing,
                      protocol.crowd_layer_start, options.divergence, protocol.em_epochs, options.epochs,
                      kd_loss=options.kd_loss, kd_weight=options.kd_weight)
    before = [{learner.name: learner for learner in learners if not learner.failure} for learners in earlier]
    learners = []
    for name in options.methods:
        kind = METHODS[name]
        torch.manual_seed(random_seed(options.seed, "weights", *([stage] if stage else [])))
        if stage == 0 and not kind.teacher:
            learners.append(Learner(name, 0, kind(setting), protocol, device))
        elif stage == 1 and kind.teacher in before[0]:
            taught = replace(setting, targets=predict_all([before[0][kind.teacher]], train.inputs)[0])
            learners.append(Learner(name, 1, ROBUST[options.robust](taught), protocol, device))
        elif stage == 2 and name in before[1]:
            taught = replace(setting, targets=predict_all([before[1][name]], train.inputs)[0])
            learners.append(Learner(name, 2, kind(taught), protocol, device))
            learners[-1].method.load_state_dict(before[0][kind.teacher].method.state_dict())
    return learners


@torch.no_grad()
def predict_all(learners, inputs, function=None):
    """[(N, ...)], each learner's `predict` for all inputs, or another `function` of them; a batch is fetched once for
    all learners."""
    for learner in learners:
        learner.method.eval()
    parts = [[] for _ in learners]
    for start in range(0, max(len(inputs), 1), EVALUATION_BATCH):  # an empty batch of an empty set: (0, C) comes out
        batch = inputs.batch(slice(start, start + EVALUATION_BATCH))
        for learner, part in zip(learners, parts, strict=True):
            with learner.watch:
                part.append((function or learner.method.predict)(batch))
    return [torch.cat(part) for part in parts]
