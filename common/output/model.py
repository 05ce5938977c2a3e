"""model.pt: all that a prediction needs, as plain containers and tensors."""
import csv
import os
from dataclasses import dataclass

import torch
from tqdm import tqdm

from common.data.dataset import prediction_batch
from common.networks.own import build
from common.output.crowd import class_columns
from common.output.model_checks import check_model
from common.output.model_file import read_model, write_model
from common.system.errors import UserError

KIND = "a classifier learnt from a crowd"
PREDICTED = "item", "truth", "label", "confidence"  # a table of predictions has a column for each class too


@dataclass(frozen=True)
class Model:
    """What model.pt holds. networks: [{"classifier": a state dict, "heads": float32 (M,), "weight": float}], whose
    probabilities are added up by weight; the head of each gives M times C logits, and its probabilities are those of the M,
    weighed by heads."""
    method: str
    classes: list
    network: dict  # networks.build's spec
    preprocessing: dict  # preprocessing.fit's
    precision: str
    networks: list

    def save(self, file):
        write_model({"kind": KIND, **{name: getattr(self, name) for name in self.__dataclass_fields__}}, file)

    @torch.no_grad()
    def predict(self, inputs, device, title="predicting"):
        """float32 (N, C): the classes' probabilities for an ImageSet or FeatureSet."""
        total = torch.zeros(len(inputs), len(self.classes))
        inputs = inputs.to(device)
        size = prediction_batch(inputs)  # as the run's own predictions: the same numbers come out
        for network in self.networks:
            classifier, heads = self._classifier(network), network["heads"].to(device)
            classifier = classifier.to(device).eval()
            places = [slice(start, start + size) for start in range(0, len(inputs), size)]
            for place, batch in zip(tqdm(places, title, leave=False, disable=None), inputs.batches(places), strict=True):
                logits = classifier(batch)
                shares = torch.softmax(logits.unflatten(1, (len(heads), -1)), 2)
                total[place] += network["weight"] * torch.einsum("bmc,m->bc", shares, heads).cpu()
        return total

    def _classifier(self, network):
        classifier = build(self.network, self.precision)
        width = len(network["classifier"]["head.weight"])
        if width != classifier.head.out_features:
            classifier.head = torch.nn.Linear(classifier.head.in_features, width)
        classifier.load_state_dict(network["classifier"])
        return classifier


def states_of(parts):
    """What Model.networks holds of [(trained Method, weight)]: the classifiers, and where one has a head for each annotator,
    their weights."""
    return [{"classifier": {name: tensor.detach().cpu() for name, tensor in method.classifier.state_dict().items()},
             "heads": method.head_weights().cpu(), "weight": weight}
            for method, weight in parts]


def load_model(file):
    """The Model in a file. Nothing in it is executed. Raises UserError for what is none."""
    if not os.path.exists(file):
        raise UserError(f"{file}: no such file; a finished run of OwnData/main.py leaves it, unless it "
                        "had answers alone")
    saved = read_model(file)
    if not isinstance(saved, dict) or saved.pop("kind", None) != KIND or set(saved) != set(Model.__dataclass_fields__):
        raise UserError(f"{file}: not {KIND}; expected model.pt of a run")
    model = Model(**saved)
    try:
        check_model(model)
    except UserError:  # what the network needs is not installed
        raise
    except Exception:  # a file of another structure can raise anything
        raise UserError(f"{file}: not a whole model; expected model.pt of a run") from None
    return model


def write_predictions(file, names, probabilities, classes, truth=None):
    """A row for each item: its name, its truth where that is known, the label, its confidence, and a column for each
    class. probabilities: (N, C); truth: int64 (N,) with -1 where it is unknown."""
    writer = csv.writer(file)
    known = truth is not None and bool((truth >= 0).any())
    writer.writerow([*(name for name in PREDICTED if known or name != "truth"), *class_columns(classes, PREDICTED)])
    confidence, label = probabilities.max(1) if len(probabilities) else (torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    truths = [["" if t < 0 else classes[t]] for t in truth.tolist()] if known else [[]] * len(names)
    for name, true, c, sure, row in zip(names, truths, label.tolist(), confidence.tolist(), probabilities.tolist(),
                                        strict=True):
        writer.writerow([name, *true, classes[c], f"{sure:.6f}", *(f"{p:.6f}" for p in row)])
