"""The flags and the protocol of anybody's own data; without torch, so that --help is quick."""
import re
from dataclasses import dataclass
from pathlib import Path

from common.data.layouts import without_ending
from common.names import AGGREGATE_THEN_TRAIN, AGGREGATORS, DUPLICATES, FIELD_METHODS, FITS, PAPER_METHODS
from common.training.options import Options, flag, whole
from common.training.protocol import Protocol

# the papers' methods and the label models; the truth scores and is never trained on
METHODS = tuple(name for name in FIELD_METHODS if name in (*PAPER_METHODS, *AGGREGATE_THEN_TRAIN) and name != "true-label")


@dataclass
class OwnOptions(Options):
    # what --help only names: groups of flags, and flags
    brief = ("training", "KD-Crowd", "computation", "path", "train_size", "test_size", "window", "slice", "network",
             "weights", "pretrained")
    command = True  # whether there is one that repeats the run: not from Python

    answers: list = flag(None, "who answered what: a table, a tool's export, or a file each", same_run=False, nargs="+",
                         metavar="FILE")
    images: str = flag(None, "folder of the items, as image files", same_run=False, metavar="DIR")
    features: str = flag(None, "the items as a table of numbers, or a .npy", same_run=False, metavar="FILE")
    texts: str = flag(None, "the items as a table task,text", same_run=False, metavar="FILE")
    items: str = flag(None, "names of the rows of --features FILE.npy, one on a line", same_run=False, metavar="FILE")
    truth: str = flag(None, "a table task,label: only for the printed accuracies", same_run=False, metavar="FILE")
    gold: str = flag(None, "a table task,label: known labels, used in training", same_run=False, metavar="FILE")
    columns: list = flag(None, "names of the columns of --answers: TASK WORKER LABEL", nargs="+", metavar="NAME")
    annotators: list = flag(None, "names of the annotators' columns; then --columns TASK", nargs="+", metavar="NAME")
    questions: list = flag(None, "names of the items' columns; then --columns WORKER", nargs="+", metavar="NAME")
    no_header: bool = flag(False, "the first line is an answer; columns are called 1, 2, ...", action="store_true")
    where: list = flag(None, "use only these rows of --answers (or !=)", nargs="+", action="extend", metavar="COLUMN=VALUE")
    classes: list = flag(None, "the classes and their order", nargs="+", metavar="NAME")
    duplicates: str = flag("last", "which of an annotator's answers to an item counts", choices=DUPLICATES)
    check: bool = flag(False, "check everything, print what there is, and stop", same_run=False, action="store_true")
    groups: str = flag(None, "a table item,group: a group is never on both sides of a fold", "data", same_run=False,
                       metavar="FILE")

    size: int = flag(None, "side in pixels (default: at most 128, 64 without backbone)", "images", type=whole(8, 2048),
                     metavar="N")
    fit: str = flag("pad", "how an image becomes a square", "images", choices=FITS)
    window: list = flag(None, "values that become black and white, above 8 bits", "images", nargs=2, type=float,
                        metavar=("LOW", "HIGH"))
    slice: int = flag(None, "slice of volumes (NIfTI, MetaImage, DICOM, .npy)", "images", type=whole(0), metavar="K")
    cache: str = flag(None, "folder of decoded images and features", "images", same_run=False,
                      metavar="DIR|none")
    backbone: str = flag("auto", "frozen pretrained network (docs/own-data.md)", "images", metavar="NAME")
    finetune: bool = flag(False, "train all of the backbone", "images", action="store_true")
    network: str = flag("small", "four-conv, vgg16 or a torchvision name; small with --backbone none", "images",
                        metavar="NAME")
    weights: str = flag(None, "a state dict that the network or backbone starts from", "images", same_run=False,
                        metavar="FILE")
    pretrained: bool = flag(False, "start --network from torchvision's weights", "images", action="store_true")

    select: str = flag("crowd", "crowd: keep the epoch that predicts held-out labels best; none: the last",
                       "choosing without the truth", choices=("crowd", "none"))

    def answers_alone(self):
        return not (self.images or self.features or self.texts or self.items)

    def choose_methods(self, table):
        """With answers alone the further label models; field: all there are."""
        if not self.answers_alone():
            return super().choose_methods(table)
        names = [name for word in self.methods for name in word.split(",") if name not in ("", "all")]
        return list(AGGREGATORS) if "field" in names else names

    def table_name(self, dataset):
        return "own"

    def reproduce(self, *arguments, **named):
        return super().reproduce(*arguments, **named) if self.command else ""


def name_of(options):
    """What the run is called: the answers' file, or its folder where it is called answers itself or there are several."""
    path = Path(options.answers[0]).resolve()
    stem = without_ending(path.name)
    name = path.parent.name if stem in ("answers", "labels", "") or len(options.answers) > 1 else stem
    return re.sub(r"[^\w.-]+", "-", name) or "own"


PROTOCOL = Protocol(
    name="own",
    network=None,
    epochs=None,
    batch_size=None,
    classifier_rate=1e-3,
    aggregator_rate=1e-3,
    prior=(),
    methods=METHODS,
    learn_prior=True,
    smoothing=1e-2,
    augment="none",
    patience=10,
)
