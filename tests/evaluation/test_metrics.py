"""The measures against the truth, on cases worked out by hand."""
import numpy as np
import pytest
import torch

from common.crowd.labels import CrowdLabels
from common.data.dataset import Items
from common.evaluation import metrics

NOBODY = torch.tensor([-1, -1])


def test_accuracy_is_of_the_known_items():
    assert metrics.accuracy(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, -1])) == pytest.approx(2 / 3)
    assert metrics.accuracy(torch.tensor([0, 1]), NOBODY) is None


def test_the_auc_is_that_of_the_second_class():
    """Of four pairs of an item of either class, three are in the right order."""
    second = torch.tensor([.2, .6, .5, .9, .1])
    found = metrics.scores(torch.stack([1 - second, second], 1), torch.tensor([0, 0, 1, 1, -1]))
    assert found == {"test_accuracy": .5, "test_auc": .75}  # .5 goes to the first class
    assert metrics.scores(torch.eye(2), torch.tensor([1, 1]))["test_auc"] is None


def test_calibration_error_is_of_absolute_differences():
    """Two items alone in their bins are .9 too sure and .4 too unsure; two in one bin are .7 + .72 - 1 together."""
    confidence = torch.tensor([.9, .6, .7, .72, .99])
    posterior = torch.stack([confidence, 1 - confidence], 1)
    truth = torch.tensor([1, 0, 0, 1, -1])
    assert metrics.calibration_error(posterior, truth) == pytest.approx((.9 + .4 + .42) / 4)
    assert metrics.calibration_error(posterior[:2], NOBODY) is None
    assert metrics.calibration_error(torch.eye(2), torch.tensor([0, 1])) == 0


def test_confusion_counts_have_a_row_for_each_true_class():
    assert metrics.confusion_counts(torch.tensor([1, 1, 0, 1]), torch.tensor([0, 0, 1, -1]), 2) == [[0, 2], [1, 0]]
    assert metrics.confusion_counts(torch.tensor([1, 1]), NOBODY, 2) is None


def test_true_confusion_and_agreement():
    dense = np.array([[0, 1, -1], [0, -1, -1], [1, 0, -1], [1, 1, -1]])
    items = Items(None, torch.tensor([0, 1, 1, -1]), list("abcd"), CrowdLabels.from_dense(dense, 2))
    nan = float("nan")
    expected = [[[1, 0], [.5, .5]], [[0, 1], [1, 0]], [[nan, nan], [nan, nan]]]
    torch.testing.assert_close(metrics.true_confusion(items), torch.tensor(expected), equal_nan=True)
    found = metrics.agreement(items.crowd, items.truth)
    np.testing.assert_allclose(found, [2 / 3, 0, nan])
