"""Who takes the learners' steps: threads on a CPU, recordings of their steps on a GPU."""
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import torch
from tqdm import tqdm

from common import processes
from common.crowd.labels import CrowdLabels
from common.errors import UserError
from common.methods import Batch, Method
from common.networks import multiplications

LITTLE = 5e8  # multiplications forward in a step: some ten milliseconds of one core
MUCH = 1e11  # as many take a GPU longer than the CPU takes to launch them
AT_FIRST = 3  # steps of a learner that are not recorded: the optimiser and the libraries make what they keep
WORTHWHILE = 50  # steps of an epoch from which recordings, which take about as long as ten steps, are made


class Crew:
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


ALONE = Crew(1)


class Recorder(Crew):
    """A Crew on a GPU. A step of a small batch is some 250 kernels, most of which take the GPU less time than the CPU takes
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
        self.place = self.place or Place(batch)
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
            self.recordings[learner] = Recording(learner, self.place, self.streams[learner], learner not in self.random)
        except RuntimeError as error:
            cause = error.__context__ or error  # what follows from it hides it
            if not isinstance(cause, RuntimeError):  # Control-C
                raise cause from None
            if not isinstance(cause, torch.cuda.OutOfMemoryError):
                raise UserError(f"{learner.name}: its steps cannot be recorded ({str(cause).splitlines()[0][:120]}); go on "
                                "with --graphs off") from error
            tqdm.write(f"{learner.name}: no memory for a recording; steps are launched kernel by kernel from now on")
            self.fits, self.recordings = False, {}


class Place:
    """Memory for a batch that recordings read: each batch is copied there."""

    def __init__(self, like):
        items, inputs, *crowd = (tensor.clone() for tensor in _tensors(like))
        self.batch = Batch(items, inputs, CrowdLabels(*crowd, like.crowd.annotators, like.crowd.classes))

    def fill(self, batch):
        for mine, new in zip(_tensors(self.batch), _tensors(batch), strict=True):
            mine.copy_(new)


def _tensors(batch):
    return batch.items, batch.inputs, batch.crowd.annotator, batch.crowd.label, batch.crowd.offsets


class Recording:
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


def make_crew(train, protocol, options, device, precision):
    """The Crew for a run on the training Items. On a CPU, where a step is so little work that threads would stand in one
    another's way within it, each has one core, so torch's number of threads is set to one; else one learner at a time has
    all threads. On a GPU steps are recorded where they are not so much work that they keep it busy one by one, and where
    all items have as many labels; unless --graphs is off."""
    if processes.count() > 1 or device.type not in ("cpu", "cuda"):
        return ALONE
    counts = train.crowd.counts
    if device.type == "cuda" and (options.graphs == "off" or (counts != counts[0]).any()):
        return ALONE
    work = multiplications(protocol.network(precision), train.inputs.batch(slice(0, 1))) * options.batch_size
    if work > (MUCH if device.type == "cuda" else LITTLE):
        return ALONE
    if device.type == "cuda":
        return Recorder(device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    return Crew(min(threads, len(options.methods)))
