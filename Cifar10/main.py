"""Max-MIG and its baselines on CIFAR-10 with VGG-16, with a synthesized crowd or the people of CIFAR-10H or CIFAR-10N.

    python3 Cifar10/main.py --case 2 --expertise 1 --path DATA --device 0
    python3 Cifar10/main.py --crowd cifar10h --crowd-path cifar10h-raw.csv --hardest 100 --path DATA --device 0

An epoch of all 50,000 images takes a method four minutes on two cores of an AMD EPYC, so that the paper's 50 epochs are for
a GPU: an H100 takes ten seconds an epoch for eleven methods, those of two cases side by side. On a CPU, with --train-size
5000 --test-size 2000 --epochs 10 the first gives Max-MIG 47.8 %, the majority vote 8.8 %, the true labels 58.9 % after an
hour and a half on one core.
"""
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root: runs uninstalled, from any folder

from common.system.errors import UserError, launch  # first: then Control-C in the imports is no traceback

# isort: split
from common.names import SYNTHESIZED_METHODS
from common.training.options import SynthesizedOptions, flag, parse, whole
from common.training.protocol import Protocol

PROTOCOL = Protocol(
    name="cifar10",
    network="vgg16",
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
    crowd: str = flag("synthesized", "who labels: --case and --expertise, or real people",
                      choices=("synthesized", "cifar10h", "cifar10n"))
    crowd_path: str = flag(None, "cifar10h-raw.csv or CIFAR-10_human.pt", same_run=False, metavar="FILE")
    hardest: int = flag(None, "CIFAR-10H: keep the N annotators with the most errors", type=whole(1), metavar="N")
    download: bool = flag(False, "fetch CIFAR-10 into --path if it is not there", same_run=False, action="store_true")

    def table_name(self, dataset):
        return dataset if self.crowd == "synthesized" else self.crowd

    def row(self):
        return super().row() if self.crowd == "synthesized" else {}

    def run_name(self, dataset):
        if self.crowd == "synthesized":
            return super().run_name(dataset)
        return f"{self.table_name(dataset)}{f'-hardest{self.hardest}' if self.hardest else ''}-seed{self.seed}"


def read_options(arguments=None):
    return parse(Options, PROTOCOL, __doc__, arguments)


def main(arguments=None):
    options = read_options(arguments)
    # imported once the flags are known to be right: --help need not wait for torch
    import cifar10
    from common.data.dataset import synthesized
    from common.training.run import run
    from human_labels import human_crowd

    for name, crowds in (("hardest", ("cifar10h",)), ("crowd_path", ("cifar10h", "cifar10n"))):
        if getattr(options, name) and options.crowd not in crowds:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: needs --crowd {' or '.join(crowds)}; "
                            "add it, or leave this out")
    train, test, files = cifar10.load(options.path, options.download)
    if options.crowd == "synthesized":
        experts = cifar10.EXPERTS[options.expertise]
        dataset = synthesized(train, test, cifar10.CLASSES, experts, options, files)
    else:
        dataset = human_crowd(train, test, cifar10.CLASSES, options, files)
    return run(dataset, PROTOCOL, options)


if __name__ == "__main__":
    launch(main)
