"""One run over several processes, as torchrun starts them: each runs the network on its share of a batch.

Inputs and crowd labels are on every process. What the network makes of the shares is gathered, so that each process has
the loss of the whole batch (the MIG loss of parts is not the MIG loss), and complete gradients of all that comes after the
network; those of the network are summed. In a process that was started alone nothing here does anything.
"""
import datetime
import os
import sys

import torch
from torch import distributed
from torch.nn.modules.batchnorm import _BatchNorm

from common.system.errors import UserError

PATIENCE = datetime.timedelta(hours=2)  # of a process with another: one may write results alone


def count():
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank():
    return distributed.get_rank() if count() > 1 else 0


def launched():
    """(WORLD_SIZE, LOCAL_RANK) of torchrun, (1, 0) without it. Raises UserError for what is no number."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return 1, 0
    number_of("RANK")  # torch reads it
    return number_of("WORLD_SIZE"), number_of("LOCAL_RANK")


def number_of(name, alone="0"):
    """What torchrun says of this process in the environment, `alone` without it. Raises UserError for what is no number."""
    value = os.environ.get(name, alone)
    if not (value.isascii() and value.isdigit()):
        raise UserError(f"{name}={value[:40]} in the environment: expected a whole number, as torchrun sets it")
    return int(value)


def join(device):
    """Joins the other processes of torchrun, if there are any: by nccl where the device is a GPU, else by gloo."""
    if launched()[0] == 1 or count() > 1:
        return
    try:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes of torchrun did not find one another: {str(error).splitlines()[0][:200]}") from None
    if rank():  # one process prints; errors are printed by each
        sys.stdout, sys.stderr = open(os.devnull, "w"), _NoTerminal(sys.stderr)  # noqa: SIM115


class _NoTerminal:
    """A stream on which no progress bar is drawn."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def isatty(self):
        return False


def leave():
    """Waits for the others and parts from them."""
    if count() > 1:
        distributed.barrier()
        distributed.destroy_process_group()


def from_first(value):
    """The value that the first process has, anything that can be pickled."""
    if count() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]


def same_state(module):
    """Puts the first process's parameters and buffers into a module."""
    if count() > 1:
        for tensor in module.state_dict().values():
            if tensor.numel():
                distributed.broadcast(tensor, 0)


def summed(tensor):
    """The sum of all processes' tensors, in place."""
    distributed.all_reduce(tensor)
    return tensor


def sum_gradients(parameters):
    """Sums the parameters' gradients over the processes."""
    if count() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = summed(torch.cat([g.flatten() for g in gradients]))
    for g, whole in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        g.copy_(whole.view_as(g))


def shared(function, inputs):
    """function(inputs), (B, F), of which this process works out its share of the B rows, as many as processes at least;
    random numbers within it, dropout's, are its own, and leave the generators as they are on all processes."""
    shares = inputs.tensor_split(count())
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    seed = torch.randint(2**62, ()).item() + rank()
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        mine = function(shares[rank()])
    return _Gather.apply(mine, [len(share) for share in shares])


class _Gather(torch.autograd.Function):
    """The rows of all processes; backward keeps those of this one."""

    @staticmethod
    def forward(context, mine, sizes):
        context.sizes = sizes
        padded = mine.new_zeros(max(sizes), *mine.shape[1:])
        padded[:len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(context, gradient):
        return gradient.split(context.sizes)[rank()], None


class _Sum(torch.autograd.Function):
    """The sum over the processes; backward sums the gradients, since the sum went to all of them."""

    @staticmethod
    def forward(context, value):
        return summed(value.clone())

    @staticmethod
    def backward(context, gradient):
        return summed(gradient.contiguous().clone())


class WholeBatchNorm(_BatchNorm):
    """Batch norm whose mean and variance are those of all processes' rows together."""

    def _check_input_dim(self, inputs):
        pass

    def forward(self, inputs):
        if not self.training or count() == 1:
            return super().forward(inputs)
        values = inputs.float()
        axes = [axis for axis in range(inputs.dim()) if axis != 1]
        number = torch.full((1,), float(inputs.numel() // inputs.shape[1]), device=inputs.device)
        sums = _Sum.apply(torch.cat([values.sum(axes), (values * values).sum(axes), number]))
        first, second, number = sums.split([inputs.shape[1], inputs.shape[1], 1])
        mean = first / number
        variance = (second / number - mean * mean).clamp(min=0)
        if self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked += 1
                share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_(variance * number / (number - 1), share)
        scale = torch.rsqrt(variance + self.eps)
        shape = [1, -1] + [1] * (inputs.dim() - 2)
        out = (values - mean.view(shape)) * scale.view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(inputs.dtype)


def with_whole_batch_norm(module):
    """The module, whose batch norms are made WholeBatchNorms where there are several processes; their names stay."""
    if count() > 1:
        for part in module.modules():
            if isinstance(part, _BatchNorm):
                part.__class__ = WholeBatchNorm
    return module
