"""A model's file: tensors as safetensors, all else as JSON in its header. Nothing in it is executed."""
import json
import zlib

import safetensors
import safetensors.torch
import torch

from common.data.opening import ZIP, opened
from common.system.errors import UserError

TENSOR = "tensor:"  # before a tensor's name, where the JSON has it
ESCAPE = "text:"  # before text that begins like one of the two


def _split(value, path, tensors):
    """The value with each tensor replaced by its name, which is its path, and put into `tensors`."""
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous()
        return TENSOR + path
    if isinstance(value, dict):
        return {key: _split(each, f"{path}/{key}", tensors) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_split(each, f"{path}/{k}", tensors) for k, each in enumerate(value)]
    if isinstance(value, str) and value.startswith((TENSOR, ESCAPE)):
        return ESCAPE + value
    return value


def _join(value, tensors):
    """The inverse of _split. Takes each tensor out of `tensors`: nothing can be listed twice."""
    if isinstance(value, dict):
        return {key: _join(each, tensors) for key, each in value.items()}
    if isinstance(value, list):
        return [_join(each, tensors) for each in value]
    if isinstance(value, str) and value.startswith(TENSOR):
        return tensors.pop(value.removeprefix(TENSOR))
    return value.removeprefix(ESCAPE) if isinstance(value, str) else value


def _checksum(text, tensors):
    """The CRC-32 of all that is said, as text."""
    found = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(repr((name, tensor.dtype, tuple(tensor.shape))).encode(), found)
        found = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), found)
    return f"{found:08x}"


def write_model(value, file):
    """Writes a dictionary of plain containers and tensors to an open file."""
    tensors = {}
    text = json.dumps(_split(value, "", tensors))
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}  # safetensors refuses memory that is shared
    file.write(safetensors.torch.save(tensors, {"model": text, "crc32": _checksum(text, tensors)}))


def read_model(file):
    """What write_model wrote. Memory is taken for no more than the file holds. Raises UserError where it cannot be read,
    or is not such a file."""
    with opened(file) as source:
        start = source.read(len(ZIP))
    if start == ZIP:
        raise UserError(f"{file}: a model of an earlier version, which is no longer read; expected one that the same "
                        "command makes again with --fresh")
    try:
        with safetensors.safe_open(file, "pt") as content:
            said = content.metadata() or {}
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118  it is no dictionary
        if said.get("crc32") != _checksum(said["model"], tensors):
            raise ValueError("its checksum does not hold")
        value = _join(json.loads(said["model"]), tensors)
        if tensors:
            raise ValueError("a tensor that nothing needs")
    except Exception as error:  # safetensors and json raise many kinds
        raise UserError(f"{file}: not a model that can be read ({str(error)[:80]}); expected model.pt of a run") from None
    return value
