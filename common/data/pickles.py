"""Reads pickles of NumPy arrays and plain containers without executing anything that is in them."""
import pickle
import re

import numpy as np

from common.errors import UserError


class _Refused(Exception):
    """Something in a pickle that is not admitted."""


def _encode(text, encoding):
    """_codecs.encode, as a pickle of bytes calls it."""
    if encoding != "latin1":
        raise _Refused(f"{encoding} text")
    return text.encode("latin1")


def _dtype(code, align=False, copy=False):
    if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[?biufSU]\d*", code):
        raise _Refused(f"an array of {code!r}")
    return np.dtype(code)


_ADMITTED = {
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0] for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, key):
        raise _Refused(f"a reference to {key!r}")


def load_arrays(file, name):
    """What the pickle in an open binary file holds; `name` stands for it in errors.

    Raises UserError if it is cut short, or holds anything besides arrays, numbers, text and plain containers.
    """
    try:
        return _Unpickler(file, encoding="latin1").load()
    except _Refused as error:
        raise UserError(f"{name}: not a pickle of arrays alone ({error}); nothing of it was executed") from None
    except Exception as error:  # a broken pickle can make the unpickler raise nearly anything
        raise UserError(f"{name}: cut short or broken ({type(error).__name__}: {error}); get the file again") from None
