"""The interface of a method, and what the methods share."""
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from common.crowd.labels import CrowdLabels, confusion_from, initial_weights, vote_shares


@dataclass(frozen=True)
class Constants:
    """What single methods need of a data set's experiment."""
    divergence: str = "kl"  # Max-MIG, KD-Crowd
    learn_prior: bool = False  # Max-MIG
    smoothing: float = 1e-4  # eps of initial_weights: Max-MIG, Crowd Layer
    crowd_layer_start: str = "identity"  # or "aggregator": the initial weights
    em_epochs: int = 1  # AggNet, MBEM: epochs of training in an M-step


@dataclass(frozen=True)
class Distillation:
    """What KD-Crowd's students are taught. targets: float32 (N, C), the teacher's predictions; loss: mig or kl; weight: of
    the distillation beside the crowd model's own loss; lambda_u: of DivideMix's guesses beside the used labels."""
    targets: torch.Tensor
    loss: str = "mig"
    weight: float = 1.
    lambda_u: float = 0.


@dataclass(frozen=True)
class Setting:
    """What a method is built from. Only true-label may look at `truth`.

    network: () -> Classifier with new weights; crowd: CrowdLabels of the N training items, without the labels of items that
    are held out; truth: int64 (N,), -1 where unknown; prior: float32 (C,); epochs: of the training; input_size: how many
    numbers an input has; start: float32 (N, C), the posterior from which a model of the annotators starts, the shares of
    the votes by default; rate: Adam's, for the classifier.
    """
    network: Callable
    crowd: CrowdLabels
    truth: torch.Tensor
    prior: torch.Tensor
    epochs: int = 1
    input_size: int = 0
    constants: Constants = Constants()
    distillation: Distillation | None = None
    start: torch.Tensor | None = None
    rate: float = 1e-3

    def posterior(self):
        """float32 (N, C): a copy of `start`, zeros for items without labels."""
        return vote_shares(self.crowd) if self.start is None else self.start.clone()

    def initial_weights(self):
        """float32 (M, C, C): see crowd.labels.initial_weights."""
        return initial_weights(self.crowd, self.posterior(), self.constants.smoothing)


@dataclass(frozen=True)
class Batch:
    """items: int64 (B,), their numbers in the training set; inputs: (B, ...); crowd: CrowdLabels of the B items;
    view(): the inputs again, augmented anew."""
    items: torch.Tensor
    inputs: torch.Tensor
    crowd: CrowdLabels
    view: Callable | None = None


class Method(nn.Module):
    """A way to learn a classifier from a crowd. A subclass gives `loss_from`, and overrides what else differs.

    Rules of a loss: within an epoch no tensor is replaced, only its values change, since on a GPU a step is recorded as a
    CUDA graph and repeated; nothing waits for the device (no .item(), no boolean indexing); random numbers beside the
    network's dropout are declared by `draws`. What changes between epochs does so in `end_epoch`.
    """
    name = None
    teacher = None  # the name of the method whose predictions start it, for KD-Crowd
    forecasts = False  # whether it has a forecaster
    draws = False  # whether its loss draws random numbers of its own, beside the network's dropout: not recorded, on a GPU

    @classmethod
    def has_start(cls, protocol):
        """Whether the Setting's `start` makes a difference to the method in a Protocol."""
        return False

    def __init__(self, setting):
        super().__init__()
        self.classifier = setting.network()

    def loss(self, batch):
        """The training loss of a Batch: a float32 scalar."""
        return self.loss_from(self.classifier(batch.inputs), batch)

    def loss_from(self, logits, batch):
        """The same, from the classifier's logits (B, C) for the batch."""
        raise NotImplementedError

    def predict(self, inputs):
        """(B, C): the probabilities of the true label, from the inputs alone."""
        return torch.softmax(self.classifier(inputs), 1)

    def head_weights(self):
        """float32 (K,): the weight of each head. The logits are (B, K * C); `predict` is the weighted mean of the heads'
        softmax."""
        return torch.ones(1)

    def log_probabilities(self, logits):
        """(B, C): log of `predict`, from the classifier's logits."""
        return functional.log_softmax(logits, 1)

    def end_epoch(self, predict_train):
        """Called after each epoch. predict_train() gives `predict` on all training items, (N, C); predict_train(function)
        any other function of the inputs. On a GPU a method that has its own is recorded anew after it."""

    def forecast(self, probabilities, crowd):
        """(N, C): what `predict`'s probabilities (N, C) and the crowd's labels of the same items say together."""
        raise NotImplementedError

    def aggregate(self, h):
        """(N, C): the method's labels of the training items, as probabilities: its classifier's predictions h (N, C),
        unless the method says more of them."""
        return h

    def confusion(self, posterior, crowd):
        """(M, C, C): the annotators' confusion matrices as the method sees them, rows the true class; counted from
        the method's labels of the training items, `posterior` (N, C), where it has no matrices of its own."""
        return confusion_from(crowd, posterior)

    def report(self):
        """What else of it belongs into summary.json, as a dictionary."""
        return {}

    def aggregator_parameters(self):
        """The parameters that are trained at the aggregator's rate instead of the classifier's."""
        return []


def one_hot(labels, classes):
    """float32 (N, C); a row of zeros where the label is -1."""
    return functional.one_hot(labels + 1, classes + 1)[:, 1:].float()


def soft_cross_entropy(logits, target):
    """Cross-entropy of logits (B, C) against probabilities target (B, C), averaged over the rows that have any."""
    return -(target * functional.log_softmax(logits, 1)).sum() / (target.sum(1) > 0).sum().clamp(min=1)
