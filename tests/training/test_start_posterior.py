"""The posterior from which the models of the annotators start."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.crowd.bayes import LabelModel
from common.crowd.dawid_skene import dawid_skene
from common.crowd.labels import CrowdLabels, vote_shares
from common.data.dataset import Items
from common.methods.method import Setting
from common.methods.registry import METHODS
from common.networks.classifier import Classifier
from common.training.stages import start_posterior


@pytest.fixture
def crowd():
    random = np.random.default_rng(0)
    truth = random.integers(3, size=60)
    labels = np.where(random.random((60, 5)) < .7, truth[:, None], random.integers(3, size=(60, 5)))
    labels[7] = -1
    return CrowdLabels.from_dense(labels, 3)


def test_starts(crowd):
    items = Items(None, torch.full((60,), -1), list(range(60)), crowd)
    assert torch.equal(start_posterior("votes", items), vote_shares(crowd))
    seen = (crowd.counts > 0)[:, None]
    assert torch.equal(start_posterior("dawid-skene", items), dawid_skene(crowd) * seen)
    np.testing.assert_allclose(start_posterior("label-model", items)[seen[:, 0]],
                               LabelModel(crowd).labels().posterior[seen[:, 0].numpy()], atol=1e-6)
    assert not start_posterior("label-model", items)[7].any()


@pytest.mark.parametrize("start", ["dawid-skene", "label-model"])
def test_copies_of_an_item_and_repeated_gold_labels_count_once(crowd, start):
    once = Items(None, torch.full((60,), -1), list(range(60)), crowd)
    tripled = replace(once.select(torch.arange(60).repeat_interleave(3)), copies=3)
    expected = start_posterior(start, once).repeat_interleave(3, 0)
    assert torch.equal(start_posterior(start, tripled), expected)
    if start == "label-model":
        gold = torch.where(torch.arange(60) < 20, torch.arange(60) % 3, -1)
        item = np.concatenate([crowd.item, np.arange(20).repeat(4)])
        annotator = np.concatenate([crowd.annotator, np.full(80, 5)])
        label = np.concatenate([crowd.label, (np.arange(20) % 3).repeat(4)])
        repeated = replace(once, crowd=CrowdLabels.from_triples(item, annotator, label, 60, 6, 3), gold=gold)
        posterior = start_posterior(start, repeated)
        assert torch.equal(posterior[:20], torch.eye(3)[gold[:20]])
        expected = LabelModel(repeated.unique_labels().crowd, gold.numpy()).labels().posterior
        np.testing.assert_allclose(posterior[20:], expected[20:] * (crowd.counts[20:] > 0)[:, None].numpy(), atol=1e-6)


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
