"""Predictions of learners for whole sets of items."""
import torch

from common.data.dataset import prediction_batch
from common.system import processes
from common.training.learner import fold_models


@torch.no_grad()
def predict_all(learners, inputs, function=None, items=None):
    """[(N, ...)], each learner's `predict` for all inputs, or for `items` (int64 (K,)), or another `function` of them; a
    batch is fetched once for all learners."""
    if not learners:
        return []
    for learner in learners:
        learner.method.eval()
    count = len(inputs) if items is None else len(items)
    size = prediction_batch(inputs)
    # of no items one empty slice: the result has a shape
    places = [slice(start, min(start + size, count)) for start in range(0, max(count, 1), size)]
    shared_out = 1 < processes.count() <= len(places)
    mine = range(processes.rank(), len(places), processes.count()) if shared_out else range(len(places))
    fetched = inputs.batches(places[k] if items is None else items[places[k]] for k in mine)
    wholes = [None] * len(learners)  # preallocated: to join small parts would fragment the memory
    for k, batch in zip(mine, fetched, strict=True):
        def predict(learner, batch=batch):
            with learner.watch:
                return (function or learner.method.predict)(batch)
        for j, part in enumerate(learners[0].executor.map(predict, learners)):
            if wholes[j] is None:
                wholes[j] = part.new_zeros(count, *part.shape[1:])
            wholes[j][places[k]] = part
    return [processes.summed(whole) for whole in wholes] if shared_out else wholes


def predict_models(learners, inputs):
    """{name: float32 (N, C)}: the predictions for all inputs, the mean over the folds of a name."""
    predictions = dict(zip(learners, predict_all(learners, inputs), strict=True))
    return {name: mean([predictions[learner] for learner in models]) for name, models in fold_models(learners).items()}


def mean(tensors):
    """The mean of equal tensors; a single one as it is."""
    return tensors[0] if len(tensors) == 1 else torch.stack(tensors).mean(0)


def to_array(h):
    """float64: a tensor of probabilities, of any shape, as an array."""
    return h.double().cpu().numpy()
