"""The executor of training steps on a GPU: CUDA graphs."""
from collections import Counter, defaultdict
from contextlib import ExitStack

import torch
from tqdm import tqdm

from common.crowd.labels import CrowdLabels
from common.methods.method import Batch, Method
from common.system.errors import UserError
from common.training.executor import Executor

AT_FIRST = 3  # steps of a learner before the capture: the optimiser and the libraries allocate what they keep
WORTHWHILE = 50  # steps of an epoch from which graphs are captured, which takes as long as some ten steps


class GraphExecutor(Executor):
    """Executes training steps as CUDA graphs.

    A step of a small batch is some 250 kernels, and the CPU takes longer to launch most of them than the GPU to run them. So
    each learner's step is captured once and replayed as a whole; graphs of several learners run side by side. The numbers
    are the same. All batches must have the same shapes, with equally many labels for each item. Each graph keeps the memory
    of one step; where the memory does not suffice, steps are launched kernel by kernel from then on.
    """

    def __init__(self, device):
        super().__init__(1)
        self.device = device
        self.inputs = None
        self.fits = self.pays = True  # whether the memory has sufficed so far; whether the epoch has enough steps
        self.taken = Counter()  # {learner: how many steps, kernel by kernel}
        self.random = set()  # the learners whose steps draw random numbers
        self.streams, self.graphs = defaultdict(lambda: torch.cuda.Stream(device)), {}  # of learners

    def begin_epoch(self, learners, steps):
        """Keeps the graphs of these learners whose method has no `end_epoch`, which could change its step."""
        self.pays = steps >= WORTHWHILE
        self.graphs = {learner: graph for learner, graph in self.graphs.items()
                           if learner in learners and type(learner.method).end_epoch is Method.end_epoch}

    def release(self):
        self.graphs = {}  # not when the garbage is collected next, which may be while another run records

    def step(self, learners, batch, seeds):
        self.inputs = self.inputs or StaticInputs(batch)
        for learner in learners:
            self.capture(learner)
        if self.graphs:
            self.inputs.fill(batch)
        here, losses = torch.cuda.current_stream(self.device), []
        arrived = here.record_event()
        with ExitStack() as at_the_end:
            for learner in learners:
                graph = self.graphs.get(learner)
                if graph is None:
                    losses.append(self.launch(learner, batch, seeds[learner]))
                    continue
                if graph.stream:
                    graph.stream.wait_event(arrived)
                    at_the_end.callback(here.wait_stream, graph.stream)
                with torch.cuda.stream(graph.stream):  # None is the current one
                    losses.append(learner.step(batch, seeds[learner], graph.launch))
        return losses

    def launch(self, learner, batch, seed):
        """The learner's step, kernel by kernel."""
        loss = learner.step(batch, seed)
        self.taken[learner] += 1
        if torch.cuda.default_generators[self.device.index].get_offset() > 0:  # since it was seeded, for this step
            self.random.add(learner)
        return loss

    def capture(self, learner):
        """Makes the learner's StepGraph if it is time."""
        due = self.fits and self.pays and learner.repeatable and self.taken[learner] >= AT_FIRST
        if learner in self.graphs or not due:
            return
        try:
            self.graphs[learner] = StepGraph(learner, self.inputs, self.streams[learner], learner not in self.random)
        except RuntimeError as error:
            cause = error.__context__ or error  # what follows from it hides it
            if not isinstance(cause, RuntimeError):  # Control-C
                raise cause from None
            if not isinstance(cause, torch.cuda.OutOfMemoryError):
                raise UserError(f"{learner.name}: its steps cannot be captured ({str(cause).splitlines()[0][:120]}); go on "
                                "with --graphs off") from error
            tqdm.write(f"{learner.name}: no memory for a CUDA graph; steps are launched kernel by kernel from now on")
            self.fits, self.graphs = False, {}


class StaticInputs:
    """The memory that graphs read a batch from; each batch is copied there."""

    def __init__(self, like):
        items, inputs, *crowd = (tensor.clone() for tensor in _tensors(like))
        self.batch = Batch(items, inputs, CrowdLabels(*crowd, like.crowd.annotators, like.crowd.classes))

    def fill(self, batch):
        for mine, new in zip(_tensors(self.batch), _tensors(batch), strict=True):
            mine.copy_(new)


def _tensors(batch):
    return batch.items, batch.inputs, batch.crowd.annotator, batch.crowd.label, batch.crowd.offsets


class StepGraph:
    """A learner's step on the batch in StaticInputs, captured. It runs on the `stream` if it may run `beside` others: steps
    that draw random numbers do not, since in older torch they share the generator's seed on the device."""

    def __init__(self, learner, inputs, stream, beside):
        self.stream = stream if beside else None
        self.graph = torch.cuda.CUDAGraph()
        learner.optimizer.zero_grad()
        # on a learner's own stream its scratch memory is its own, too; threads that read images ahead may go on
        with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
            self.loss = learner.descend(inputs.batch)

    def launch(self, _):
        self.graph.replay()
        return self.loss
