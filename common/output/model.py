"""model.pt: all that a prediction needs, as plain containers and tensors."""
import os
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from common.data.dataset import prediction_batch
from common.networks.own import build
from common.output.crowd import class_columns, named
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


def prediction_columns(names, probabilities, classes, truth=None):
    """{column: values}: each item's name, its truth where that is known, the label, its confidence, and a column for each
    class. probabilities: (N, C); truth: int64 (N,) with -1 where it is unknown."""
    probabilities = probabilities.numpy().astype(np.float64).round(6)
    label = probabilities.argmax(1) if len(probabilities) else np.zeros(0, int)
    known = truth is not None and bool((truth >= 0).any())
    columns = {"item": names, **({"truth": named(truth, classes)} if known else {}), "label": [classes[c] for c in label],
               "confidence": probabilities[np.arange(len(label)), label]}
    return columns | dict(zip(class_columns(classes, PREDICTED), probabilities.T, strict=True))
