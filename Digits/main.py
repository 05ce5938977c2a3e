"""Max-MIG and its baselines on scikit-learn's embedded handwritten digits, with a synthesized crowd: no download.

    python3 Digits/main.py --case 2 --expertise 1

gives Max-MIG 96 % of the test items after the last epoch (mean of five seeds), the majority vote 10 %, the true labels
99.2 %, in a minute on two cores of an AMD EPYC.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root: runs uninstalled, from any folder

from common.system.errors import launch  # first: then Control-C in the imports is no traceback

# isort: split
from common.names import SYNTHESIZED_METHODS
from common.training.options import SynthesizedOptions, parse
from common.training.protocol import Protocol

PROTOCOL = Protocol(
    name="digits",
    network="digits_net",
    epochs=30,
    batch_size=32,
    classifier_rate=1e-3,
    aggregator_rate=3e-3,
    prior=(.1,) * 10,
    methods=SYNTHESIZED_METHODS,
    crowd_layer_start="aggregator",
)


def read_options(arguments=None):
    return parse(SynthesizedOptions, PROTOCOL, __doc__, arguments)


def main(arguments=None):
    options = read_options(arguments)
    # imported once the flags are known to be right: --help need not wait for torch
    import digits
    from common.data.dataset import synthesized
    from common.training.run import run

    train, test = digits.load()
    classes = [str(digit) for digit in range(10)]
    return run(synthesized(train, test, classes, digits.EXPERTS[options.expertise], options), PROTOCOL, options)


if __name__ == "__main__":
    launch(main)
