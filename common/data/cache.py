"""Where decoded images and their features are kept between runs."""
import contextlib
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np

from common.data.opening import opened
from common.system.errors import UserError, echo
from common.system.files import replace_file


def cache_folder(choice=None):
    """The folder of --cache: that of the user for None, which is None without a home; None for "none"."""
    if choice is not None:
        return None if choice == "none" else Path(choice)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "learning-from-crowds"
    except RuntimeError:
        return None


def cache_file(choice, key, ending):
    """The file of a key (anything whose repr says what is kept), or None where nothing is kept."""
    folder = cache_folder(choice)
    return folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.{ending}" if folder else None


def keep(file, write, mode, what):
    """Whether write(file) could make the file; else it is said why not."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, write, mode)
        return True
    except OSError as error:
        echo(f"the {what} could not be kept in {file}: {error.strerror}")
        return False


def cached(choice, key, shape, make, what):
    """float32 array of that shape: make(), or what an earlier call with the same key made, where it is kept."""
    file, size = cache_file(choice, key, what), int(np.prod(shape)) * 4
    if file:
        with contextlib.suppress(OSError, ValueError, UserError), opened(file, most=size + 4) as source:
            content = source.read()
            if len(content) == size + 4 and zlib.crc32(content[:size]).to_bytes(4, "little") == content[size:]:
                return np.frombuffer(content, "<f4", size // 4).reshape(shape).copy()
    values = np.ascontiguousarray(make(), "<f4")
    if file:
        content = values.tobytes()
        keep(file, lambda opened_file: opened_file.write(content + zlib.crc32(content).to_bytes(4, "little")), "wb", what)
    return values
