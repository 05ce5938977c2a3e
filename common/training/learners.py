"""Methods in training: their random numbers, their optimisers, the three stages of KD-Crowd, predictions for a set."""
import zlib
from dataclasses import replace

import numpy as np
import torch

from common import processes
from common.data.dataset import prediction_batch
from common.methods import METHODS, Setting
from common.networks import Classifier, Dropout
from common.robust import ROBUST
from common.training.crews import ALONE
from common.training.device import Stopwatch, seed_generators

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
    """A method in training under the name of what it is trained for, in a stage and on a fold of the training items: its
    optimiser, its clock, what became of it, the weights of the best epoch where one is selected."""

    def __init__(self, name, stage, fold, method, protocol, device, crew=ALONE):
        self.name, self.stage, self.fold = name, stage, fold
        self.method = method.to(device)
        self.crew = crew
        processes.same_state(self.method)
        networks = [part for part in method.modules() if isinstance(part, Classifier)]
        self.shared = [p for network in networks for p in network.body.parameters()]
        self.repeatable = not method.draws and all(part.ours for part in networks)  # a step is the same work every time
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

    def keep_if_best(self, epoch, score):
        """Keeps the weights as they are if the score is higher than that of every epoch before."""
        if self.best is None or score > self.best["score"]:
            state = {name: value.clone() for name, value in self.method.state_dict().items()}
            self.best = {"epoch": epoch, "score": score, "method": state}

    def restore_best(self):
        if self.best:
            self.method.load_state_dict(self.best["method"])

    def step(self, batch, seed, take=None):
        """One step of Adam on the batch, by `descend` or what repeats it (`take`, of a Batch). `seed` is for the method's
        dropout. Returns the loss, still on the device."""
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
        self.method.load_state_dict(state["method"])
        if state["optimizer"]:
            self.optimizer.load_state_dict(state["optimizer"])
            for group in self.optimizer.param_groups:  # a checkpoint may be older than recordings
                group["capturable"] = self.watch.device.type == "cuda"
        self.seconds, self.failure, self.best = state["seconds"], state["failure"], state["best"]


def teams(learners):
    """{name: [Learner]}: the learners of one name, one for each fold."""
    found = {}
    for learner in learners:
        found.setdefault(learner.name, []).append(learner)
    return found


def fail(learners, name, failure):
    """Marks all learners of a name as failed: what is left of the folds is no whole."""
    for learner in teams(learners)[name]:
        learner.failure = learner.failure or failure


def build_stage(stage, earlier, dataset, protocol, options, device, precision, folds, crew=ALONE):
    """[Learner] of a stage, for each fold ([selection.Fold]). `earlier` are those of the stages before, [[Learner], ...].

    All classifiers of stage 0 start from the same weights in a fold. A student of stage 1 is taught the predictions of
    its teacher in stage 0; in stage 2 the crowd model goes on from there, or starts anew with options.retrain, and is
    taught those of its student. Where an earlier learner failed there is none. What a fold holds out is out of sight: its
    labels are not in the crowd.
    """
    train, learners = dataset.train, []
    for fold in folds:
        crowd, key = train.crowd, []
        if len(fold.train) < len(train):
            held_out = torch.ones(len(train), dtype=torch.bool, device=device).index_fill(0, fold.train, False)
            crowd = crowd.without(torch.nonzero(held_out)[:, 0])
            key = ["fold", fold.number]
        setting = Setting(lambda: protocol.network(precision), crowd, train.truth,
                          torch.tensor(protocol.prior, device=device), protocol.learn_prior, protocol.smoothing,
                          protocol.crowd_layer_start, options.divergence, protocol.em_epochs, options.epochs,
                          train.inputs.batch(slice(0, 1)).numel(), kd_loss=options.kd_loss, kd_weight=options.kd_weight)
        before = [{learner.name: learner for learner in learners_before
                   if learner.fold == fold.number and not learner.failure} for learners_before in earlier]
        for name in options.methods:
            kind = METHODS[name]
            torch.manual_seed(random_seed(options.seed, "weights", *([stage] if stage else []), *key))
            if stage == 0 and not kind.teacher:
                learners.append(Learner(name, 0, fold.number, kind(setting), protocol, device, crew))
            elif stage == 1 and kind.teacher in before[0]:
                taught = replace(setting, targets=predict_all([before[0][kind.teacher]], train.inputs)[0])
                learners.append(Learner(name, 1, fold.number, ROBUST[options.robust](taught), protocol, device, crew))
            elif stage == 2 and name in before[1]:
                taught = replace(setting, targets=predict_all([before[1][name]], train.inputs)[0])
                learners.append(Learner(name, 2, fold.number, kind(taught), protocol, device, crew))
                if not options.retrain:
                    learners[-1].method.load_state_dict(before[0][kind.teacher].method.state_dict())
    return learners


@torch.no_grad()
def predict_all(learners, inputs, function=None, items=None):
    """[(N, ...)], each learner's `predict` for all inputs, or for `items` (int64 (K,)), or another `function` of them; a
    batch is fetched once for all learners."""
    for learner in learners:
        learner.method.eval()
    count = len(inputs) if items is None else len(items)
    size = prediction_batch(inputs)
    places = [slice(start, min(start + size, count)) for start in range(0, max(count, 1), size)]  # one, empty, of no items
    shared_out = 1 < processes.count() <= len(places)
    mine = range(processes.rank(), len(places), processes.count()) if shared_out else range(len(places))
    fetched = inputs.batches(places[k] if items is None else items[places[k]] for k in mine)
    wholes = [None] * len(learners)  # filled, not joined from parts: small ones kept between large ones split the memory up
    for k, batch in zip(mine, fetched, strict=True):
        def predict(learner, batch=batch):
            with learner.watch:
                return (function or learner.method.predict)(batch)
        crew = learners[0].crew if learners else ALONE
        for j, said in enumerate(crew.map(predict, learners)):
            if wholes[j] is None:
                wholes[j] = said.new_zeros(count, *said.shape[1:])
            wholes[j][places[k]] = said
    return [processes.summed(whole) for whole in wholes] if shared_out else wholes
