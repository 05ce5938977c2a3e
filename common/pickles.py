"""Reads pickles of NumPy arrays and plain containers without executing anything that is in them."""
import pickle
import re

import numpy as np

from common.errors import UserError


def _encode(text, encoding):
    """_codecs.encode, as a pickle of bytes calls it."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"{encoding} text")
    return text.encode("latin1")


def _dtype(code, align=False, copy=False):
    if not isinstance(code, str | bytes) or not re.fullmatch(r"[<>|=]?[?biufSU]\d*", str(code, "latin1") if isinstance(code, bytes) else code):
        raise pickle.UnpicklingError(f"an array of {code!r}")
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
            raise pickle.UnpicklingError(f"{module}.{name}") from None

    def persistent_load(self, key):
        raise pickle.UnpicklingError(f"a reference to {key!r}")


def load_arrays(file, name):
    """What the pickle in an open binary file holds; `name` stands for it in errors.

    Raises UserError if it is cut short, or holds anything besides arrays, numbers, text and plain containers.
    """
    try:
        return _Unpickler(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise UserError(f"{name}: not a pickle of arrays alone ({error}); nothing of it was executed") from None
    except Exception as error:  # a broken pickle can make the unpickler raise nearly anything
        raise UserError(f"{name}: cut short or broken ({type(error).__name__}: {error}); get the file again") from None
