"""Max-MIG and its baselines on CIFAR-10 with VGG-16 and a synthesized crowd.

    python3 main.py --case 2 --expertise 1 --path DATA --device 0
"""
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root: runs uninstalled, from any folder

import cifar10
from common.dataset import Protocol, synthesized
from common.errors import launch
from common.experiment import run
from common.methods import SYNTHESIZED_METHODS
from common.networks import vgg16
from common.options import SynthesizedOptions, flag, parse

PROTOCOL = Protocol(
    name="cifar10",
    network=vgg16,
    epochs=50,
    batch_size=64,
    classifier_rate=1e-3,
    aggregator_rate=1e-4,
    prior=(.1,) * 10,
    methods=SYNTHESIZED_METHODS,
    crowd_layer_start="aggregator",
)


@dataclass
class Options(SynthesizedOptions):
    download: bool = flag(False, "fetch CIFAR-10 into --path if it is not there", same_run=False, action="store_true")


def main(arguments=None):
    options = parse(Options, PROTOCOL, __doc__, arguments)
    train, test, files = cifar10.load(options.path, options.download)
    experts = cifar10.EXPERTS[options.expertise]
    return run(synthesized(train, test, cifar10.CLASSES, experts, options, files), PROTOCOL, options)


if __name__ == "__main__":
    launch(main)
