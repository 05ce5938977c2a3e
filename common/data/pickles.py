"""Reads pickles of NumPy arrays and plain containers without executing anything that is in them.

Not by the pickle module: its unpickler takes memory for what a pickle merely announces (a place in its memo), and hashes a
tuple nested a million deep, which ends the process. The few operations that such pickles need are done here.
"""
import math
import pickletools
import re

import numpy as np

from common.system.errors import UserError

VALUES = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
          "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
          "BINBYTES8"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Refused(Exception):
    """Something in a pickle that is not admitted."""


class _Name(str):
    """A function or a class that a pickle names, `module.name`."""


class _Kind:
    """A dtype, of numbers alone."""

    def __init__(self, code, *_):
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[?biuf]\d*", code):
            raise _Refused(f"an array of {code!r:.40}")
        self.dtype = np.dtype(code)

    def set(self, state):
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array, to be filled in by its state: (version, shape, dtype, in Fortran's order, bytes)."""
    values = None

    def __init__(self, *_):
        pass

    def set(self, state):
        _, shape, kind, fortran, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2's
        if min(shape, default=0) < 0 or math.prod(shape) * kind.dtype.itemsize != len(raw):
            raise ValueError(f"{len(raw)} bytes for an array of {shape}")
        values = np.frombuffer(raw, kind.dtype).reshape(shape, order="F" if fortran else "C")
        self.values = values.astype(kind.dtype.newbyteorder("="))


def _encode(text, encoding):
    """_codecs.encode, as a pickle of bytes calls it."""
    if encoding != "latin1":
        raise _Refused(f"{encoding} text")
    return text.encode("latin1")


_ADMITTED = {"_codecs.encode": _encode, "numpy.dtype": _Kind,
             **{f"numpy.{core}.multiarray._reconstruct": _Array for core in ("core", "_core")}}
_CLASS = "numpy.ndarray"  # the class that _reconstruct makes


def load_arrays(content, name):
    """What a pickle holds (bytes, or an open binary file); `name` stands for it in errors. Arrays are found where the
    pickle holds one, or a dictionary of them.

    Raises UserError if it is cut short, or holds anything besides arrays, numbers, text and plain containers.
    """
    try:
        value = _run(content)
    except _Refused as error:
        raise UserError(f"{name}: not a pickle of arrays alone ({error}); nothing of it was executed") from None
    except Exception as error:  # a broken pickle can raise nearly anything
        raise UserError(f"{name}: cut short or broken ({type(error).__name__}: {error}); get the file again") from None
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, dict) else _plain(value)


def _plain(value):
    return value.values if isinstance(value, _Array) else value


def _run(content):
    """The operations one after another, on a stack. The memo is a dictionary: what is put at a high place takes no more."""
    stack, marks, memo = [], [], {}

    def since_mark():
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for operation, argument, _ in pickletools.genops(content):
        match operation.name:
            case name if name in VALUES:
                stack.append(argument)
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case name if name in EMPTY:
                stack.append(EMPTY[name]())
            case name if name in TUPLES:
                items = tuple(stack[-TUPLES[name]:])
                del stack[-TUPLES[name]:]
                stack.append(items)
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "LIST":
                stack.append(since_mark())
            case "DICT":
                stack.append(_with({}, since_mark()))
            case "APPEND":
                value = stack.pop()
                _a(list, stack[-1]).append(value)
            case "APPENDS":
                items = since_mark()
                _a(list, stack[-1]).extend(items)
            case "SETITEM":
                items = stack[-2:]
                del stack[-2:]
                _with(stack[-1], items)
            case "SETITEMS":
                items = since_mark()
                _with(stack[-1], items)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                module, name = stack[-2:]
                stack[-2:] = [_named(module, name)]
            case "REDUCE":
                function, arguments = stack[-2:]
                if not isinstance(function, _Name) or function == _CLASS:
                    raise _Refused(f"a call of {function!r:.40}")
                stack[-2:] = [_ADMITTED[function](*arguments)]
            case "BUILD":
                state = stack.pop()
                _a((_Array, _Kind), stack[-1]).set(state)
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case name:
                raise _Refused(name.lower())


def _named(module, name):
    if f"{module}.{name}" not in (*_ADMITTED, _CLASS):
        raise _Refused(f"{module}.{name}"[:80])
    return _Name(f"{module}.{name}")


def _a(kind, value):
    if not isinstance(value, kind):
        raise _Refused(f"a change of a {type(value).__name__}")
    return value


def _with(dictionary, items):
    """The dictionary with more keys and values in turn; the keys are text or numbers, which are quick to hash."""
    if not all(isinstance(key, str | bytes | int | float) for key in items[::2]):
        raise _Refused("a dictionary with other keys than text and numbers")
    _a(dict, dictionary).update(zip(items[::2], items[1::2], strict=True))
    return dictionary
