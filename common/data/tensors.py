"""Files that torch saves: read without executing anything, and ours under a seal by which a damaged one is noticed.

A seal is the zip archive's comment, which any reader of such files passes over: the CRC-32 of all bytes before it. torch
checks none of the checksums that an archive has itself, and those do not cover its directory.
"""
import os
import zipfile
import zlib

import torch

from common.data.nesting import check_nesting, is_zip
from common.data.opening import MB, opened
from common.system.errors import UserError

SEAL = b"crc32 %08x"
LENGTH = len(SEAL % 0)


class _Summed:
    """An open file that is written from its beginning to its end, and the CRC-32 of what was."""

    def __init__(self, file):
        self.file, self.sum = file, 0

    def write(self, content):
        self.sum = zlib.crc32(content, self.sum)
        return self.file.write(content)

    def flush(self):
        self.file.flush()


def save_tensors(value, file):
    """Writes tensors and plain containers to an open file, sealed; torch.load reads it like any other."""
    summed = _Summed(file)
    torch.save(value, summed)
    file.seek(-2, os.SEEK_END)  # an archive ends with its comment's length, 0, and the comment
    file.write(LENGTH.to_bytes(2, "little") + SEAL % summed.sum)


def _is_sealed(file, size):
    """Whether an open file of so many bytes ends with the seal of what is before it."""
    found, left = 0, size - LENGTH - 2
    while left > 0 and (piece := file.read(min(left, MB))):
        found, left = zlib.crc32(piece, found), left - len(piece)
    return file.read() == LENGTH.to_bytes(2, "little") + SEAL % zlib.crc32(b"\0\0", found)


def load_tensors(file, sealed=False):
    """What torch saved in a file, tensors and plain containers: nothing in it is executed, its checksums hold, and its seal
    where it must be `sealed`.

    Raises UserError where it cannot be read, ValueError where it is not such a file.
    """
    with opened(file) as source:
        size = os.fstat(source.fileno()).st_size
        try:
            if sealed and not _is_sealed(source, size):
                raise ValueError("its seal does not hold")
            if is_zip(source):
                with zipfile.ZipFile(source) as archive:
                    if sum(member.file_size for member in archive.infolist()) > size or not sealed and archive.testzip():
                        raise ValueError("a checksum does not hold")
            elif sealed:
                raise ValueError("not a zip archive")
            check_nesting(source)
            source.seek(0)
            return torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:  # torch and zipfile raise many kinds for a file that is not one of their own
            raise _NotTensors(str(error)) from None


class _NotTensors(UserError, ValueError):
    """Both: `opened` lets a UserError pass."""
