"""Checks the pickle in a file that torch saved before torch reads it, without executing anything.

Python ends in a segmentation fault when it hashes a tuple that is nested 200,000 deep. A tuple that holds another one twice,
which holds a third one twice, and so on, takes hours to hash. Both fit in a small file.
"""
import mmap
import pickletools

import torch

from common.data.opening import ZIP

LEVELS = 200  # of containers inside one another
PARTS = 10_000  # of a tuple, those of the tuples in it counted each time that they occur
PICKLES_OF_OLD_FILES = 5  # magic number, version, system, the value, keys of the storages

VALUES = {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
          "SHORT_BINSTRING"}
EMPTY = {"EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"}
TAKEN = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "BINPERSID": 1, "REDUCE": 2, "NEWOBJ": 2}  # values that become one
ADDED = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}  # values that go into the container below them
VALUE = (0, 1)  # of a value that is no container: its levels and its parts


def check_nesting(file):
    """Raises ValueError, or what pickletools raises, where an open file that torch saved holds a pickle that is cut short or
    nested too deep. Only operations that torch itself admits are let through."""
    if is_zip(file):
        _check_pickle(torch._C.PyTorchFileReader(file).get_record("data.pkl"))  # the very bytes that torch unpickles
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:  # takes no memory for what a length announces
        for _ in range(PICKLES_OF_OLD_FILES):
            _check_pickle(content)


def is_zip(file):
    """Whether torch takes an open file for a zip archive."""
    file.seek(0)
    start = file.read(len(ZIP))
    file.seek(0)
    return start == ZIP


def _check_pickle(content):
    """Checks one pickle: bytes, or an open file, whose position is then behind the pickle.

    Follows the pickle on a stack of (levels, parts), a list where these may still grow.
    """
    stack, marks, memo = [], [], {}

    def take(count):
        if count > len(stack):
            raise ValueError("fewer values than an operation takes")
        start = len(stack) - count
        items = stack[start:]
        del stack[start:]
        return items

    def since_mark():
        return take(len(stack) - marks.pop())

    for operation, argument, _ in pickletools.genops(content):
        match operation.name:
            case name if name in VALUES:
                stack.append(VALUE)
            case name if name in EMPTY:
                stack.append([1, 1])
            case name if name in TAKEN:
                stack.append(_around(take(TAKEN[name])))
            case name if name in ADDED:
                items = take(ADDED[name])
                _put_into(stack[-1], items)
            case "GLOBAL" if argument != "builtins bytearray":  # called with a number, that one takes as much memory
                stack.append(VALUE)
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(_around(since_mark()))
            case "APPENDS" | "SETITEMS":
                items = since_mark()
                _put_into(stack[-1], items)
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "PROTO" | "STOP":
                pass
            case name:
                raise ValueError(f"the operation {name.lower()}")


def _around(items):
    """The levels and parts of a tuple of these, or of what is called with these."""
    levels, parts = 1 + max((item[0] for item in items), default=0), 1 + sum(item[1] for item in items)
    if levels > LEVELS or parts > PARTS:
        raise ValueError(f"{levels} containers inside one another, {parts} parts; expected at most {LEVELS} and {PARTS}")
    return [levels, parts]


def _put_into(container, items):
    """A container with more items. Its parts stay as they are: what can be filled is never hashed."""
    if container is VALUE:
        raise ValueError("a change of what is no container")
    container[0] = max(container[0], *(1 + item[0] for item in items), 1)
    if container[0] > LEVELS:
        raise ValueError(f"{container[0]} containers inside one another; expected at most {LEVELS}")
