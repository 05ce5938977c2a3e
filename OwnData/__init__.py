"""Labels, a classifier and a view of the annotators from anybody's own answers, for Python: aggregate, fit, load."""
from importlib import import_module

HOMES = {"Result": "aggregation", "aggregate": "aggregation", "fit": "fitting", "load": "fitting"}
__all__ = list(HOMES)


def __getattr__(name):  # imported when it is asked for: main.py --help need not wait for it
    if name in __all__:
        return getattr(import_module(f"OwnData.{HOMES[name]}"), name)
    raise AttributeError(f"module 'OwnData' has no attribute {name!r}")
