"""The methods' losses and EM steps, against plain loops and cases solved by hand."""
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from common.crowd.labels import CrowdLabels, confusion_from, vote_shares
from common.methods.aggnet import e_step
from common.methods.method import Batch, Constants, Distillation, Setting
from common.methods.registry import METHODS
from common.names import FIELD_METHODS
from common.networks.classifier import Classifier

CLASSES, FEATURES = 3, 4
DENSE = np.array([[0, 0, 1], [1, -1, 1], [-1, -1, -1], [2, 1, -1], [0, 2, 2]])  # item 2 has no labels
INPUTS = torch.randn(5, FEATURES, generator=torch.Generator().manual_seed(0))
TRUTH = torch.tensor([0, 1, 2, 2, 0])


def make(name, dense=DENSE, classes=CLASSES, **how):
    torch.manual_seed(0)
    crowd = CrowdLabels.from_dense(dense, classes)
    constants = {key: how.pop(key) for key in list(how) if key in {f.name for f in fields(Constants)}}
    taught = {key.removeprefix("kd_"): how.pop(key) for key in list(how) if key in ("targets", "kd_loss", "kd_weight")}
    setting = dict(network=lambda: Classifier(nn.Identity(), nn.Linear(FEATURES, classes)), crowd=crowd, truth=TRUTH,
                   prior=torch.full((classes,), 1 / classes), input_size=FEATURES, constants=Constants(**constants),
                   distillation=Distillation(**taught) if taught else None) | how
    return METHODS[name](Setting(**setting)), crowd


def whole_batch(crowd):
    return Batch(torch.arange(len(crowd)), INPUTS[:len(crowd)], crowd)


def h_of(method):
    return torch.softmax(method.classifier(INPUTS), 1).detach().numpy()


def test_majority_vote_loss():
    method, crowd = make("majority-vote")
    h = h_of(method)
    # the ties of items 3 and 1: 1 beats 2, and item 4's 2 beats 0
    expected = -np.mean([np.log(h[i, label]) for i, label in ((0, 0), (1, 1), (3, 1), (4, 2))])
    assert method.loss(whole_batch(crowd)).item() == pytest.approx(expected, rel=1e-5)
    labels = method.posterior(crowd)
    np.testing.assert_allclose(labels[2], 1 / 3)
    assert labels[[0, 1, 3, 4]].argmax(1).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("start", ["identity", "aggregator"])
def test_crowd_layer_loss(start):
    method, crowd = make("crowd-layer", crowd_layer_start=start)
    h, matrices = h_of(method), method.matrices.detach().view(-1, CLASSES, CLASSES).numpy()
    if start == "identity":
        np.testing.assert_array_equal(matrices, np.eye(CLASSES)[None].repeat(3, 0))
    losses = []
    for i, m in np.argwhere(DENSE >= 0):
        logits = h[i] @ matrices[m]
        losses.append(np.log(np.exp(logits).sum()) - logits[DENSE[i, m]])
    assert method.loss(whole_batch(crowd)).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_doctor_net_loss_and_prediction():
    dense = np.column_stack([DENSE, [-1] * 5])  # a fourth annotator without labels: no part in the prediction
    method, crowd = make("doctor-net", dense)
    logits = method.classifier(INPUTS).view(5, 4, CLASSES).detach().numpy()
    p = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    expected = -np.mean([np.log(p[i, m, dense[i, m]]) for i, m in np.argwhere(dense >= 0)])
    assert method.loss(whole_batch(crowd)).item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(method.predict(INPUTS).detach(), p[:, :3].mean(1), rtol=1e-5)


def test_true_label_loss():
    method, crowd = make("true-label")
    expected = -np.mean(np.log(h_of(method)[np.arange(5), TRUTH]))
    assert method.loss(whole_batch(crowd)).item() == pytest.approx(expected, rel=1e-5)


def test_max_mig_starts_from_the_votes_and_learns_its_prior_only_if_asked():
    for learn in (False, True):
        method, crowd = make("max-mig", learn_prior=learn)
        method.loss(whole_batch(crowd)).backward()
        assert (method.prior_logits.grad is not None) == learn
        assert sum(method.report()["prior"]) == pytest.approx(1)
    forecast = method.forecast(method.predict(INPUTS), crowd).detach()
    np.testing.assert_allclose(forecast[2], h_of(method)[2], rtol=1e-5)  # no labels: h alone


@pytest.mark.parametrize("name", [name for name in FIELD_METHODS if name != "true-label"])
def test_items_without_labels_train_nobody(name):
    """The gradient is that of the batch without them; a batch of nothing else has a zero gradient."""
    def gradient(keep, doctored=INPUTS):
        method, crowd = make(name)
        items = torch.tensor(keep)
        method.loss(Batch(items, doctored[items], crowd.select(items))).backward()
        return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])
    moved = INPUTS.clone()
    moved[2] += 5
    torch.testing.assert_close(gradient([0, 1, 2, 3, 4]), gradient([0, 1, 3, 4]))
    torch.testing.assert_close(gradient([0, 1, 2, 3, 4], moved), gradient([0, 1, 3, 4]))
    assert (gradient([2]) == 0).all()


def test_confusion_by_hand():
    """Two annotators, three items: pi counted from posteriors, on paper."""
    crowd = CrowdLabels.from_dense(np.array([[0, 1], [1, -1], [1, 1]]), 2)
    pi = confusion_from(crowd, torch.tensor([[1., 0], [.5, .5], [.25, .75]]))
    # annotator 0, class 0: items 0 (weight 1, said 0), 1 (.5, said 1), 2 (.25, said 1)
    np.testing.assert_allclose(pi[0], [[1 / 1.75, .75 / 1.75], [0, 1]], rtol=1e-6)
    np.testing.assert_allclose(pi[1], [[0, 1], [0, 1]], rtol=1e-6)


def test_posterior_by_hand():
    pi = torch.tensor([[[.8, .2], [.4, .6]], [[.5, .5], [.1, .9]]])
    crowd = CrowdLabels.from_dense(np.array([[0, 1], [-1, 0], [-1, -1]]), 2)
    q = e_step(crowd, pi, torch.tensor([[.3, .7], [.5, .5], [.2, .8]]))
    a, b = .3 * .8 * .5, .7 * .4 * .9
    np.testing.assert_allclose(q, [[a / (a + b), b / (a + b)], [.5 / .6, .1 / .6], [.2, .8]], rtol=1e-5)


def test_aggnet_starts_from_the_votes_and_takes_an_em_step():
    method, crowd = make("aggnet")
    votes = vote_shares(crowd)
    torch.testing.assert_close(method.posterior, votes)
    h = torch.from_numpy(h_of(method))
    expected = -np.mean((votes * torch.log(h)).sum(1).numpy()[[0, 1, 3, 4]])
    assert method.loss(whole_batch(crowd)).item() == pytest.approx(expected, rel=1e-5)
    method.end_epoch(lambda: h)
    torch.testing.assert_close(method.posterior, e_step(crowd, confusion_from(crowd, votes), h))
    torch.testing.assert_close(method.posterior[2], h[2])


def test_mbem_counts_from_the_hard_predictions():
    method, crowd = make("mbem")
    h = torch.tensor([[.4, .6, 0], [.1, .8, .1], [.2, .2, .6], [.9, 0, .1], [.3, .1, .6]])
    method.end_epoch(lambda: h)
    hard = np.array([1, 1, 2, 0, 2])
    prior = np.bincount(hard, minlength=3) / 5
    pi = np.full((3, 3, 3), 0.)
    for i, m in np.argwhere(DENSE >= 0):
        pi[m, hard[i], DENSE[i, m]] += 1
    pi = np.where(pi.sum(2, keepdims=True) > 0, pi / pi.sum(2, keepdims=True).clip(1), 1 / 3)
    for i, row in enumerate(DENSE):
        score = prior * np.prod([pi[m, :, label] for m, label in enumerate(row) if label >= 0], 0)
        np.testing.assert_allclose(method.posterior[i], score / score.sum(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["aggnet", "mbem"])
def test_an_m_step_may_be_several_epochs_and_resumes_within(name):
    method, _ = make(name, em_epochs=3)
    start, h = method.posterior, torch.tensor([[.4, .6, 0]]).expand(5, 3)
    calls = []

    def predict():
        calls.append(1)
        return h
    for _ in range(2):
        method.end_epoch(predict)
    assert not calls and torch.equal(method.posterior, start)
    resumed, _ = make(name, em_epochs=3)
    resumed.load_state_dict(method.state_dict())
    resumed.end_epoch(predict)
    assert len(calls) == 1 and not torch.equal(resumed.posterior, start)


def test_aggnet_with_two_classes_starts_from_the_confusion_matrices_alone():
    dense = np.array([[0, 0, 1], [1, 1, 1], [0, 1, 0]])
    method, crowd = make("aggnet", dense, 2)
    pi = confusion_from(crowd, vote_shares(crowd)).numpy()
    for i, row in enumerate(dense):
        score = np.prod([pi[m, :, label] for m, label in enumerate(row)], 0)
        np.testing.assert_allclose(method.posterior[i], score / score.sum(), rtol=1e-4, atol=1e-5)
