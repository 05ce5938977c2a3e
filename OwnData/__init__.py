"""Labels, a classifier and a view of the annotators from anybody's own answers, for Python: aggregate(answers)."""
from importlib import import_module

__all__ = ["Result", "aggregate"]


def __getattr__(name):  # imported when it is asked for: main.py --help need not wait for it
    if name in __all__:
        return getattr(import_module("OwnData.aggregation"), name)
    raise AttributeError(f"module 'OwnData' has no attribute {name!r}")
