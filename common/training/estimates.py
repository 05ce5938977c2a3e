"""Label estimates: what the label models and the trained methods say of the training items."""
from dataclasses import dataclass, field

import torch

from common.crowd.bayes import LabelModel
from common.crowd.fitted import FittedCrowd
from common.crowd.held_out import combine
from common.crowd.labels import clamp_to_gold
from common.methods.registry import METHODS
from common.names import AGGREGATE_THEN_TRAIN, FORECASTER, LABEL_MODEL, POSTERIOR, UPPER_BOUND
from common.system.errors import UserError, echo
from common.training.predictions import mean, predict_all


@dataclass
class Estimates:
    """Label estimates of the training items (images).

    posteriors: {name: float (N, C)}; scores: {method: held-out log-likelihood}; shares: {method: its share in the ensemble};
    crowd: the FittedCrowd that `label-model` comes from.
    """
    posteriors: dict
    crowd: FittedCrowd
    scores: dict = field(default_factory=dict)
    shares: dict = field(default_factory=dict)


def per_image(posterior, train):
    """(images, C): the mean over an image's copies of a posterior (N, C)."""
    return posterior.view(-1, train.copies, posterior.shape[1]).mean(1)


@torch.no_grad()
def label_training_items(models, train):
    """{name: (images, C)}: the labels that a method, and its forecaster, gives the training items."""
    name, method = models[0].name, models[0].method
    h = predict_all(models, train.inputs)[0]
    labels = {name: per_image(method.aggregate(h), train)}
    if method.forecasts:
        labels[name + FORECASTER] = per_image(method.forecast(h, train.crowd), train)
    return labels


def classic_posteriors(crowd):
    """{name: (N, C)}: the posteriors of the aggregators that a classifier is trained on."""
    return {name: METHODS[name].posterior(crowd) for name in AGGREGATE_THEN_TRAIN}


def estimate(succeeded, dataset, plan):
    """The Estimates of a run. succeeded: {method: [Learner]}, its learners of all folds."""
    if plan.model:
        return estimate_held_out(succeeded, dataset.train, plan)
    train = dataset.train.without_copies()
    posteriors = classic_posteriors(train.crowd)
    for name, models in succeeded.items():
        posteriors |= {} if name in AGGREGATE_THEN_TRAIN else label_training_items(models, dataset.train)
    crowd = FittedCrowd.of(LabelModel(train.unique_labels().crowd, plan.gold))
    return Estimates(with_label_model(posteriors, crowd, train), crowd)


@torch.no_grad()
def estimate_held_out(succeeded, train, plan):
    """The Estimates of a run whose predictions have not seen the items' own labels (--held-out: those of a share of them).

    Each method has two: its calibrated predictions, and the label model's posterior with them (`-posterior`). `label-model`
    is that posterior with the mean prediction of the best methods. true-label has no part in it.
    """
    images = train.without_copies()
    posteriors = classic_posteriors(images.crowd)
    scores = plan.score_held_out([learner for models in succeeded.values() for learner in models], train)
    for name, result in scores.items():
        if name not in AGGREGATE_THEN_TRAIN:
            posteriors[name] = to_tensor(result.calibrated, train)
    posteriors |= {name + FORECASTER: forecast_held_out(models, train, plan) for name, models in succeeded.items()
                   if models[0].method.forecasts and len(models) > 1}
    competitors = {name: scores[name] for name in scores if name != UPPER_BOUND}
    h, shares = combine(plan.model, competitors) if competitors else (None, {})
    crowd = FittedCrowd.of(plan.model, h)
    if h is not None:
        say_label_switching(h, crowd.labels.posterior, images.crowd.counts.cpu().numpy() > 0)
    for name, result in scores.items():
        alone = list(shares) == [name]  # then h is its predictions
        labels = crowd.labels if alone else crowd.model.labels(result.calibrated)
        posteriors[name + POSTERIOR] = to_tensor(labels.posterior, train)
    means = {name: result.mean for name, result in scores.items()}
    return Estimates(with_label_model(posteriors, crowd, images), crowd, means, shares)


def say_label_switching(h, posterior, answered):
    """Says so where a classifier's predictions h (N, C) agree with the posterior (N, C) less than chance. answered: bool
    (N,), the items that count."""
    agreement = (h.argmax(1) == posterior.argmax(1))[answered].mean()
    if agreement < 1 / h.shape[1]:
        echo(f"the classifier agrees with the labels on {agreement:.0%} of the items, less than chance: its classes "
             "may be switched; train longer (--epochs, --patience)")


def forecast_held_out(models, train, plan):
    """float32 (images, C): a method's forecasts, each by the fold that was not trained on the item."""
    forecasts = torch.zeros(len(train), train.crowd.classes, device=train.truth.device)
    for learner, fold in zip(models, plan.folds, strict=True):
        h = predict_all([learner], train.inputs, items=fold.prediction_items)[0]
        forecasts[fold.prediction_items] = learner.method.forecast(h, train.crowd.select(fold.prediction_items))
    return per_image(forecasts, train)


def with_label_model(posteriors, crowd, images):
    """The posteriors, certain of the gold labels, with the FittedCrowd's own as `label-model`."""
    posteriors = {name: clamp_to_gold(p, images.gold) for name, p in posteriors.items()}
    return posteriors | {LABEL_MODEL: to_tensor(crowd.labels.posterior, images)}


def to_tensor(posterior, items):
    return torch.from_numpy(posterior).float().to(items.truth.device)


def check_label_source(options):
    """Raises UserError if options.label_source is no label estimate of the run to come."""
    names = list(dict.fromkeys([*AGGREGATE_THEN_TRAIN, *options.methods]))
    if not options.held_out:  # a forecaster needs predictions for all items, by models that have not seen their labels
        names += [name + FORECASTER for name in options.methods if METHODS[name].forecasts]
    names += [name + POSTERIOR for name in options.methods] if options.select == "crowd" else []
    names.append(LABEL_MODEL)
    if options.label_source not in (None, *names):
        raise UserError(f"--label-source {options.label_source}: there is no such estimate; choose from {', '.join(names)}")


def choose_labels(asked, best_method, succeeded, posteriors):
    """(method, label estimate): whose classifier and confusion matrices are kept, and what labels.csv follows.

    asked: --label-source, or None: then the label model of a run with folds, else the last method's forecaster, or the
    method.
    """
    first = best_method or ([name for name in succeeded if name != UPPER_BOUND] or list(succeeded))[-1]
    if asked and asked not in posteriors:
        echo(f"--label-source {asked}: its method failed; labels.csv follows another")
    wanted = asked, best_method and LABEL_MODEL, first + FORECASTER, first
    source = next(name for name in wanted if name in posteriors)
    method = source.removesuffix(FORECASTER).removesuffix(POSTERIOR)
    return method if method in succeeded else first, source


def labels_of(method, posteriors):
    """(N, C): a method's labels of the training items, or None: with folds the label model's with its predictions."""
    return posteriors.get(method + POSTERIOR, posteriors.get(method))


def model_confusion(models, posterior, crowd):
    """(M, C, C): the annotators' matrices inside a method, the mean over its folds."""
    return mean([learner.method.confusion(posterior, crowd) for learner in models])
