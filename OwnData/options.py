"""The flags and the protocol of anybody's own data; without torch, so that --help is quick."""
import re
from dataclasses import dataclass
from pathlib import Path

from common.names import AGGREGATORS, DUPLICATES, FIELD_METHODS, FITS, LABEL_MODELS, PAPER_METHODS
from common.training.options import Options, flag, whole
from common.training.protocol import Protocol

# the papers' methods and the label models; the truth scores and is never trained on
METHODS = tuple(name for name in FIELD_METHODS if name in (*PAPER_METHODS, *LABEL_MODELS) and name != "true-label")


@dataclass
class OwnOptions(Options):
    answers: list = flag(None, "who answered what: a table task,worker,label, one with a column for each worker, the export "
                         "of an annotation tool, or a file for each worker", same_run=False, nargs="+", metavar="FILE")
    images: str = flag(None, "folder of the items, as image files", same_run=False, metavar="DIR")
    features: str = flag(None, "the items as a table with numbers beside their names, or as a .npy", same_run=False,
                         metavar="FILE")
    texts: str = flag(None, "the items as a table task,text", same_run=False, metavar="FILE")
    items: str = flag(None, "the names of the rows of --features FILE.npy, one on a line", same_run=False, metavar="FILE")
    truth: str = flag(None, "a table task,label that scores, and is never trained on", same_run=False, metavar="FILE")
    gold: str = flag(None, "a table task,label of what is known and shall be learnt from", same_run=False, metavar="FILE")
    columns: list = flag(None, "of the table of answers: which name the task, the worker and the label", nargs=3,
                         metavar=("TASK", "WORKER", "LABEL"))
    where: list = flag(None, "only the rows of --answers with this value in this column", nargs="+", action="extend",
                       metavar="COLUMN=VALUE")
    classes: list = flag(None, "the classes' names, in their order; by default the labels that occur", nargs="+",
                         metavar="NAME")
    duplicates: str = flag("last", "which of a worker's answers to one item counts: the last, the first, each; or refuse "
                           "them", choices=DUPLICATES)
    groups: str = flag(None, "a table item,group: items of one group, as of one patient, are never on both sides of a fold",
                       same_run=False, metavar="FILE")
    size: int = flag(None, "side of the images in pixels; by default theirs, at most 128 for a backbone, else 64",
                     type=whole(8, 2048))
    fit: str = flag("pad", "how an image becomes a square", choices=FITS)
    window: list = flag(None, "the values that become black and white in images of more than 8 bits a pixel; by default "
                        "from the training images", nargs=2, type=float, metavar=("LOW", "HIGH"))
    slice: int = flag(None, "of volumes (NIfTI, MetaImage, DICOM, .npy): the number of the slice, from 0", type=whole(0),
                      metavar="K")
    cache: str = flag(None, "folder of decoded images and features; none: keep nothing on disk; by default "
                      "~/.cache/learning-from-crowds", same_run=False, metavar="DIR|none")
    backbone: str = flag("auto", "a frozen pretrained network whose features are learnt from: efficientnet-lite0, "
                         "timm/NAME, one of torchvision's, or none; auto: efficientnet-lite0 for images of 64 pixels "
                         "or more", metavar="NAME")
    finetune: bool = flag(False, "train all of the backbone from its pretrained weights", action="store_true")
    network: str = flag("small", "for images: small, four-conv, vgg16, or one of torchvision's by name, as resnet18",
                        metavar="NAME")
    weights: str = flag(None, "a state dict that the network or backbone starts from, without its last layer",
                        same_run=False, metavar="FILE")
    pretrained: bool = flag(False, "start from torchvision's own weights, which are fetched", action="store_true")
    select: str = flag("crowd", "keep the weights of the epoch that predicts held-out answers best, or of the last one",
                       choices=("crowd", "none"))
    check: bool = flag(False, "check everything, say what there is, and stop", same_run=False, action="store_true")

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


def name_of(options):
    """What the run is called: the answers' file, or its folder where it is called answers itself or there are several."""
    path = Path(options.answers[0]).resolve()
    stem = path.name.split(".")[0]
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
)
