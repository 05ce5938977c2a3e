"""The executor of training steps on a GPU: CUDA graphs."""
from collections import Counter, defaultdict
from contextlib import ExitStack

import torch
from tqdm import tqdm

from common.crowd.labels import CrowdLabels
from common.methods.method import Batch, Method
from common.system.errors import UserError
from common.training.executor import Executor

AT_FIRST = 3  # steps of a learner that are not recorded: the optimiser and the libraries make what they keep

WORTHWHILE = 50  # steps of an epoch from which recordings, which take about as long as ten steps, are made


class GraphExecutor(Executor):
    """An Executor on a GPU. A step of a small batch is some 250 kernels, most of which take the GPU less time than the CPU takes
    to launch them. So a step is recorded, as a CUDA graph, and the recording launched as a whole; those of several learners
    run side by side. A recording repeats what was launched on the memory that was used: the numbers are the same.

    All batches must have the same shapes: as many labels for each item, as in the papers' crowds. Each recording has the
    memory of a step of its own; where that is not there, steps are launched kernel by kernel from then on.
    """

    def __init__(self, device):
        super().__init__(1)
        self.device = device
        self.place = None
        self.fits = self.pays = True  # whether recordings have had the memory so far; whether the epoch has enough steps
        self.taken = Counter()  # {learner: how many steps, kernel by kernel}
        self.random = set()  # the learners whose steps draw random numbers
        self.streams, self.recordings = defaultdict(lambda: torch.cuda.Stream(device)), {}  # of learners

    def begin_epoch(self, learners, steps):
        """Keeps the recordings of these learners alone, for the memory, and of them those whose method does nothing at the
        end of an epoch that would make its step another."""
        self.pays = steps >= WORTHWHILE
        self.recordings = {learner: recording for learner, recording in self.recordings.items()
                           if learner in learners and type(learner.method).end_epoch is Method.end_epoch}

    def release(self):
        self.recordings = {}  # not when the garbage is collected next, which may be while another run records

    def step(self, learners, batch, seeds):
        self.place = self.place or StaticInputs(batch)
        for learner in learners:
            self.record(learner)
        if self.recordings:
            self.place.fill(batch)
        here, losses = torch.cuda.current_stream(self.device), []
        arrived = here.record_event()
        with ExitStack() as at_the_end:
            for learner in learners:
                recording = self.recordings.get(learner)
                if recording is None:
                    losses.append(self.launch(learner, batch, seeds[learner]))
                    continue
                if recording.stream:
                    recording.stream.wait_event(arrived)
                    at_the_end.callback(here.wait_stream, recording.stream)
                with torch.cuda.stream(recording.stream):  # None is the current one
                    losses.append(learner.step(batch, seeds[learner], recording.launch))
        return losses

    def launch(self, learner, batch, seed):
        """The learner's step, kernel by kernel."""
        loss = learner.step(batch, seed)
        self.taken[learner] += 1
        if torch.cuda.default_generators[self.device.index].get_offset() > 0:  # since it was seeded, for this step
            self.random.add(learner)
        return loss

    def record(self, learner):
        """Makes the learner's Recording if it is time."""
        due = self.fits and self.pays and learner.repeatable and self.taken[learner] >= AT_FIRST
        if learner in self.recordings or not due:
            return
        try:
            self.recordings[learner] = StepGraph(learner, self.place, self.streams[learner], learner not in self.random)
        except RuntimeError as error:
            cause = error.__context__ or error  # what follows from it hides it
            if not isinstance(cause, RuntimeError):  # Control-C
                raise cause from None
            if not isinstance(cause, torch.cuda.OutOfMemoryError):
                raise UserError(f"{learner.name}: its steps cannot be recorded ({str(cause).splitlines()[0][:120]}); go on "
                                "with --graphs off") from error
            tqdm.write(f"{learner.name}: no memory for a recording; steps are launched kernel by kernel from now on")
            self.fits, self.recordings = False, {}


class StaticInputs:
    """Memory for a batch that recordings read: each batch is copied there."""

    def __init__(self, like):
        items, inputs, *crowd = (tensor.clone() for tensor in _tensors(like))
        self.batch = Batch(items, inputs, CrowdLabels(*crowd, like.crowd.annotators, like.crowd.classes))

    def fill(self, batch):
        for mine, new in zip(_tensors(self.batch), _tensors(batch), strict=True):
            mine.copy_(new)


def _tensors(batch):
    return batch.items, batch.inputs, batch.crowd.annotator, batch.crowd.label, batch.crowd.offsets


class StepGraph:
    """A learner's step on the batch in a Place. It runs on the `stream` if it may run `beside` others: those that draw
    random numbers do not, since in older torch they share the generator's seed on the device."""

    def __init__(self, learner, place, stream, beside):
        self.stream = stream if beside else None
        self.graph = torch.cuda.CUDAGraph()
        learner.optimizer.zero_grad()
        # on a learner's own stream its scratch memory is its own, too; threads that read images ahead may go on
        with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
            self.loss = learner.descend(place.batch)

    def launch(self, _):
        self.graph.replay()
        return self.loss
