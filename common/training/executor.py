"""The executor of training steps on a CPU: threads, one core each."""
from concurrent.futures import ThreadPoolExecutor

import torch


class Executor:
    """`count` threads, one core each, that work on learners side by side."""

    def __init__(self, count):
        self.pool = ThreadPoolExecutor(count - 1) if count > 1 else None
        self.count = count

    def map(self, function, learners):
        """[function(learner)]: the learners that draw from torch's global generator by the caller, one after another, the
        others by all threads."""
        if self.pool is None or len(learners) < 2:
            return [function(learner) for learner in learners]
        grad = torch.is_grad_enabled()  # each thread has its own

        def work(places):
            with torch.set_grad_enabled(grad):
                return [(k, function(learners[k])) for k in places]
        parts = [[] for _ in range(self.count)]  # the first is the caller's
        for k in sorted(range(len(learners)), key=lambda k: learners[k].generator is not None):
            (min(parts, key=len) if learners[k].generator else parts[0]).append(k)
        waiting = [self.pool.submit(work, places) for places in parts[1:] if places]
        found = dict(work(parts[0]))
        for future in waiting:
            found |= dict(future.result())
        return [found[k] for k in range(len(learners))]

    def begin_epoch(self, learners, steps):
        """Before the first of so many steps of these learners in an epoch."""

    def release(self):
        """After the last step of all."""

    def step(self, learners, batch, seeds):
        """[loss] of the step that each learner takes on the batch. seeds: {learner: the seed of its step}."""
        return self.map(lambda learner: learner.step(batch, seeds[learner]), learners)


SERIAL = Executor(1)
