"""The posterior from which the models of the annotators start."""
import numpy as np
import pytest
import torch

from common.crowd.bayes import LabelModel
from common.crowd.dawid_skene import dawid_skene
from common.crowd.labels import CrowdLabels, vote_shares
from common.crowd.start import start_posterior
from common.methods.method import Setting
from common.methods.registry import METHODS
from common.networks.classifier import Classifier


@pytest.fixture
def crowd():
    random = np.random.default_rng(0)
    truth = random.integers(3, size=60)
    labels = np.where(random.random((60, 5)) < .7, truth[:, None], random.integers(3, size=(60, 5)))
    labels[7] = -1
    return CrowdLabels.from_dense(labels, 3)


def test_starts(crowd):
    assert torch.equal(start_posterior("votes", crowd), vote_shares(crowd))
    seen = (crowd.counts > 0)[:, None]
    assert torch.equal(start_posterior("dawid-skene", crowd), dawid_skene(crowd) * seen)
    np.testing.assert_allclose(start_posterior("label-model", crowd)[seen[:, 0]],
                               LabelModel(crowd).labels().posterior[seen[:, 0].numpy()], atol=1e-6)
    assert not start_posterior("label-model", crowd)[7].any()


def test_methods_start_from_it(crowd):
    """The first E-step of AggNet and the initial weights of Max-MIG follow the posterior, not the votes."""
    certain = torch.eye(3)[torch.zeros(60, dtype=torch.int64)]
    setting = Setting(lambda: Classifier(torch.nn.Identity(), torch.nn.Linear(2, 3)), crowd, torch.zeros(60),
                      torch.full((3,), 1 / 3), start=certain)
    assert torch.equal(METHODS["aggnet"](setting).posterior, certain)
    weights = METHODS["max-mig"](setting).aggregator.table.detach().view(5, 3, 3).transpose(1, 2)
    shares = torch.stack([torch.bincount(crowd.label[crowd.annotator == m], minlength=3) for m in range(5)]).double()
    expected = torch.log(shares / shares.sum(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(weights[:, 0].double(), expected, rtol=1e-5, atol=1e-5)
