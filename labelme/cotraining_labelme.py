"""Max-MIG and its baselines on LabelMe, with its 59 real annotators.

    python3 labelme/cotraining_labelme.py --path DATA

gives Max-MIG 87.1 % of the test images after the last epoch (mean of ten seeds), the majority vote 79.7 %, the true labels
93.8 %, after a minute on two cores of an AMD EPYC.
"""
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root: runs uninstalled, from any folder

from common.system.errors import launch  # first: then Control-C in the imports is no traceback

# isort: split
from common.names import PAPER_METHODS
from common.training.options import Options, flag, parse, whole
from common.training.protocol import Protocol, m_step_epochs

PUBLISHED_ROWS, PUBLISHED_EPOCHS = 10_000, 20  # ten augmented copies of 1,000 images; other sets see as many rows

PROTOCOL = Protocol(
    name="labelme",
    network="feature_net",
    epochs=None,
    batch_size=64,
    classifier_rate=1e-4,
    aggregator_rate=1e-4,
    prior=(1 / 8,) * 8,
    methods=PAPER_METHODS,
    smoothing=1e-2,
)


@dataclass
class LabelMeOptions(Options):
    copies: int = flag(None, "rows in turn that are one image; found from equal answers by default", type=whole(1))
    select: str = flag("none", "keep the weights of the last epoch, of the one that is best on the validation images, or of "
                       "the one that predicts held-out crowd labels best", choices=("none", "valid", "crowd"))


def read_options(arguments=None):
    return parse(LabelMeOptions, PROTOCOL, __doc__, arguments)


def main(arguments=None):
    options = read_options(arguments)
    # imported once the flags are known to be right: --help need not wait for torch
    import labelme
    from common.networks.papers import feature_net
    from common.training.run import run

    dataset = labelme.load(options)
    train = dataset.train
    print(f"{len(train)} training rows" + (f", {train.copies} copies of each of {len(train) // train.copies} images"
                                           if train.copies > 1 else ", each an image of its own"))
    options.copies = train.copies
    if options.epochs is None:
        options.epochs = max(1, round(PUBLISHED_EPOCHS * PUBLISHED_ROWS / len(train)))
        print(f"{options.epochs} epochs of {len(train)} rows, as many as the published 20 epochs of 10,000")
    protocol = replace(PROTOCOL, network=partial(feature_net, train.inputs.features.shape[1], len(labelme.CLASSES)),
                       em_epochs=m_step_epochs(PUBLISHED_ROWS, len(train), options.epochs))
    return run(dataset, protocol, options)


if __name__ == "__main__":
    launch(main)
