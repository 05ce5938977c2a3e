"""Two methods over the same seeds: whether one is ahead of the other by more than chance."""
from dataclasses import dataclass

import numpy as np

from common.reproduce.numbers import Number


@dataclass(frozen=True)
class Comparison:
    """Of a method with a rival in a cell ("" of real annotators); way: how the one came from the other, "" where it did not.

    gain: by how much it is better, the mean over seeds; error: the standard error of that.
    """
    cell: str
    way: str
    rival: str
    value: Number
    rival_value: Number
    gain: float
    error: float
    margin: float

    @property
    def ahead(self):
        """Whether the gain is above its standard error; where there is a margin, whether it is at least that."""
        return bool(self.gain >= self.margin) if self.margin else bool(self.gain > self.error)


def compare(cell, values, rival_values, rival, way="", items=None, lower=False, margin=0.):
    """The Comparison of two methods' values {seed: value} over the seeds of both; None without any.

    items: the number of test items, of which the values are shares; lower: whether less is better. The standard error is
    that of the mean of the seeds' differences. With one seed it is that of the difference of two shares of the test items,
    infinite without that number. Where less is better one seed has none, and counts as 0.
    """
    seeds = sorted(values.keys() & rival_values.keys())
    if not seeds:
        return None
    mine, others = (np.array([each[seed] for seed in seeds]) for each in (values, rival_values))
    gains = others - mine if lower else mine - others
    if len(seeds) > 1:
        error = gains.std(ddof=1) / np.sqrt(len(seeds))
    elif lower:
        error = 0.
    else:
        error = np.sqrt((mine * (1 - mine) + others * (1 - others)).sum() / items) if items else np.inf
    return Comparison(cell, way, rival, Number.of(mine), Number.of(others), float(gains.mean()), float(error), margin)
