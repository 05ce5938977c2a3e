"""The one place that opens what users wrote: what it is, and how large, is checked before memory is taken for it."""
import contextlib
import gzip
import io
import math
import os
import stat
import zipfile
import zlib
from pathlib import Path

import numpy as np

from common.system.errors import UserError

MB = 1 << 20
UNPACKED = 512 * MB  # the most that a compressed file may become: ten million answers are half of it
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
# what a file raises that is cut short, not what it says, or cannot be read
BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile)


def folder_at(path, flag, more=""):
    """The Path of a flag that names a folder. Raises UserError where there is none that can be read."""
    path = Path(path)
    try:
        os.listdir(path)
    except FileNotFoundError:
        raise UserError(f"{flag} {path}: no such folder{more}") from None
    except NotADirectoryError:
        raise UserError(f"{flag} {path}: not a folder{more}") from None
    except (OSError, ValueError) as error:  # no permission, a name too long, a link to itself; a zero byte
        raise UserError(f"{flag} {path}: cannot be read ({reason(error)})") from None
    return path


def reason(error):
    """Why a file cannot be read, in a few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextlib.contextmanager
def opened(file, name=None, most=None):
    """The file, open in binary, in a `with`; `name` stands for it in errors.

    Raises UserError where it is not a file, is larger than `most` bytes, or cannot be read, then or inside the `with`.
    """
    name = name or file
    try:
        number = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would keep us waiting for a writer
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:  # a zero byte in the name is a ValueError
        raise UserError(f"{name}: cannot be read ({reason(error)})") from None
    try:
        with _regular(number, name, most) as source:
            yield source
    except BROKEN as error:
        raise UserError(f"{name}: cannot be read ({reason(error)})") from None


def _regular(number, name, most):
    """The open file of this number as a Python file, if `opened` takes it."""
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):
        os.close(number)
        raise UserError(f"{name}: {'a folder' if stat.S_ISDIR(status.st_mode) else 'a device or pipe'}; expected a file")
    if most is not None and status.st_size > most:
        os.close(number)
        raise UserError(f"{name}: {status.st_size / 1e6:.0f} MB; expected no more than {most / 1e6:.0f}")
    return open(number, "rb")


def read_bytes(file, most, name=None):
    with opened(file, name, most) as source:
        return source.read()


class Bounded(io.RawIOBase):
    """Reads an open file; raises EOFError when it gives more than `most` bytes in all, or is asked for more than `piece`
    at once, as a header that lies does."""

    def __init__(self, file, most, piece=None):
        self.file, self.left, self.piece = file, most, piece or most

    def readable(self):
        return True

    def tell(self):
        return self.file.tell()

    def seek(self, place, whence=0):
        return self.file.seek(place, whence)

    def read(self, size=-1):
        if size > self.piece:
            raise EOFError(f"{size} bytes at once")
        content = self.file.read(self.left + 1 if size < 0 else size)
        self.left -= len(content)
        if self.left < 0:
            raise EOFError("more than it can need when unpacked")
        return content

    def readinto(self, buffer):
        content = self.read(len(buffer))
        buffer[:len(content)] = content
        return len(content)


@contextlib.contextmanager
def unpacked(file):
    """As `opened`; the content of a gzipped file, or of the one file in a zip archive, of no more than UNPACKED bytes. A
    spreadsheet's workbook, which is a zip archive too, stays as it is."""
    with opened(file) as source:
        start = source.read(len(ZIP))
        source.seek(0)
        if start.startswith(GZIP):
            yield io.BufferedReader(Bounded(gzip.GzipFile(fileobj=source), UNPACKED), MB)
        elif start == ZIP and (member := _only_member(source, file)):
            yield io.BufferedReader(Bounded(member, UNPACKED), MB)
        else:
            source.seek(0)
            yield source


def _only_member(source, name):
    """The one file in an open zip archive, opened; None for a workbook. Raises UserError for another number of files."""
    try:
        archive = zipfile.ZipFile(source)
        if {"xl/workbook.xml", "content.xml"} & set(archive.namelist()):
            return None
        members = [member.filename for member in archive.infolist() if not member.is_dir()
                   and not member.filename.startswith("__MACOSX/") and not Path(member.filename).name.startswith(".")]
        if len(members) != 1:
            shown = ", ".join(members[:3]) + ", ..." * (len(members) > 3)
            raise UserError(f"{name}: a zip archive of {len(members)} files ({shown or 'nothing'}); expected one table in "
                            "it: unpack it and give the files' names")
        return archive.open(members[0])
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(f"{name}: a zip archive that cannot be read ({reason(error)})") from None


@contextlib.contextmanager
def read_text(file, name=None):
    """As `opened`: UTF-8 text, with a byte order mark or none, its line ends as they are, for the csv module."""
    with opened(file, name, UNPACKED) as source:
        try:
            yield io.TextIOWrapper(source, encoding="utf-8-sig", newline="")
        except UnicodeDecodeError:
            raise UserError(f"{name or file}: not UTF-8 text") from None


def read_array(file):
    """The numbers of an .npy file, in this machine's byte order. Raises UserError where it holds anything else, or is not
    as long as its header says."""
    with opened(file) as source:
        try:
            version = np.lib.format.read_magic(source)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, dtype = read(source)
            if dtype.hasobject:
                raise UserError(f"{file}: an array of objects, which is not unpickled; expected an array of numbers")
            if dtype.kind not in "biuf":
                raise UserError(f"{file}: expected an array of numbers")
            there, count = os.fstat(source.fileno()).st_size - source.tell(), math.prod(shape)
            if min(shape, default=0) < 0 or count * dtype.itemsize != there:
                raise ValueError("size")
            values = np.fromfile(source, dtype, count).reshape(shape, order="F" if fortran else "C")
        except UserError:
            raise
        except Exception:  # numpy parses a header with Python's own parser
            raise UserError(f"{file}: not a whole .npy file; expected an array of numbers") from None
    return np.ascontiguousarray(values, dtype.newbyteorder("=")).reshape(shape)


def zip_member(archive, name, most):
    """The bytes of a member of an open ZipFile. Raises zipfile.BadZipFile where it is larger than `most`, encrypted or
    broken."""
    try:
        if archive.getinfo(name).file_size > most:
            raise zipfile.BadZipFile(f"{name} has more than {most / 1e6:.0f} MB")
        return archive.read(name)
    except (RuntimeError, NotImplementedError, *BROKEN) as error:
        raise zipfile.BadZipFile(f"{name}: {reason(error)}") from None


def zip_total(content):
    """The bytes that a zip archive, in bytes, says it is when unpacked. Raises zipfile.BadZipFile where it is none."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return sum(member.file_size for member in archive.infolist())
