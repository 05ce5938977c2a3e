"""The constants of a data set's experiment."""
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Protocol:
    """The constants of a data set's experiment; flags may override epochs, batch_size and augment."""
    name: str
    network: Callable | str  # (precision) -> Classifier, or the name of such a function in common/networks/papers.py
    epochs: int | None  # None: counted from the data, by the script
    batch_size: int
    classifier_rate: float  # Adam's, for h
    aggregator_rate: float  # Adam's, for g and a learnt prior
    prior: tuple  # of the classes; empty: the smoothed class shares of the start, see --start
    methods: tuple  # the rows of the data set's table, what --methods all stands for
    learn_prior: bool = False
    smoothing: float = 1e-4  # eps of the aggregator's initial weights
    crowd_layer_start: str = "identity"  # or "aggregator": the aggregator's initial weights
    augment: str = "none"
    em_epochs: int = 1  # AggNet's and MBEM's M-step
    patience: int | None = None  # a method ends so many epochs after its best one, where epochs are selected

    def classifier(self, precision):
        """A Classifier with new weights."""
        if isinstance(self.network, str):
            return getattr(import_module("common.networks.papers"), self.network)(precision)
        return self.network(precision)


def m_step_epochs(rows, items, epochs):
    """How many epochs over so many items an M-step takes that shall see `rows` of them: one at least, and half of all
    `epochs` at most, so that there is an E-step."""
    return max(1, min(round(rows / items), epochs // 2))
