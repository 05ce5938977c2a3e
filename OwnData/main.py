"""A classifier, the labels and a view of the annotators, from your own answers and items.

    python3 OwnData/main.py --answers answers.csv --images DIR [--truth truth.csv]
    python3 OwnData/main.py --answers answers.csv --features features.csv
    python3 OwnData/main.py --answers answers.csv --texts texts.csv
    python3 OwnData/main.py --answers answers.csv

The last, without the items, gives labels and annotators within seconds, and no classifier.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root: runs uninstalled, from any folder

from common.system.errors import launch  # first: then Control-C in the imports is no traceback

# isort: split
from common.training.options import parse
from OwnData.options import PROTOCOL, OwnOptions


def read_options(arguments=None):
    return parse(OwnOptions, PROTOCOL, __doc__, arguments)


def main(arguments=None, command=True):
    """The exit status. command: print the command that repeats the run."""
    options = read_options(arguments)
    options.command = command
    # imported once the flags are known to be right: --help need not wait for torch
    from common.training.run import check, run
    from OwnData import aggregation, own_data

    if options.answers_alone():
        dataset = aggregation.load(options)
        if options.check:
            return own_data.say(dataset, options)
        return aggregation.run(dataset, options, options.methods)
    dataset, protocol = own_data.load(options)
    if options.check:
        check(dataset, protocol, options)
        return own_data.say(dataset, options)
    return run(dataset, protocol, options)


if __name__ == "__main__":
    launch(main)
