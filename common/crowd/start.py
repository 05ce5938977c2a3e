"""The posterior from which a model of the annotators starts."""
import torch

from common.crowd.bayes import LabelModel
from common.crowd.dawid_skene import dawid_skene
from common.crowd.labels import vote_shares


def start_posterior(start, crowd):
    """float32 (N, C), zeros for items without labels. start: one of names.STARTS; crowd: CrowdLabels.

    `auto` takes the posterior whose confusion matrices predict each label best from the other labels of its item
    (LabelModel.temper). The truth and the classifier have no part in it.
    """
    if start == "votes":
        return vote_shares(crowd)
    model = LabelModel(crowd)
    posteriors = {"votes": vote_shares, "dawid-skene": dawid_skene,
                  "label-model": lambda _: torch.from_numpy(model.posterior().posterior).float().to(crowd.label.device)}
    if start == "auto":
        losses = {name: predictive_loss(model, posterior(crowd)) for name, posterior in posteriors.items()}
        start = min(losses, key=losses.get)
    return posteriors[start](crowd) * (crowd.counts > 0)[:, None]


def predictive_loss(model, posterior):
    """The mean of -log P(label | other labels of its item) by matrices counted from a posterior (N, C)."""
    posterior = posterior.double().cpu().numpy()
    return model.temper(posterior, model.settle(posterior)).loss
