"""The posterior from which the models of the annotators start."""
import torch

from common.crowd.bayes import LabelModel
from common.crowd.dawid_skene import dawid_skene
from common.crowd.labels import vote_shares


def start_posterior(start, crowd):
    """float32 (N, C), zeros for items without labels. start: one of names.STARTS; crowd: CrowdLabels."""
    if start == "votes":
        return vote_shares(crowd)
    posterior = (dawid_skene(crowd) if start == "dawid-skene"
                 else torch.from_numpy(LabelModel(crowd).labels().posterior).float().to(crowd.label.device))
    return posterior * (crowd.counts > 0)[:, None]
