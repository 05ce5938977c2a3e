"""What a run trains, and how."""
from dataclasses import dataclass

import torch

from common.data.dataset import Dataset
from common.training.executor import Executor
from common.training.options import Options
from common.training.protocol import Protocol
from common.training.selection import Plan


@dataclass(frozen=True)
class Experiment:
    """A run's Dataset, on its device, the Protocol and the flags; the Plan of its folds and of how an epoch is selected; the
    precision of the networks, and the Executor of the training steps."""
    dataset: Dataset
    protocol: Protocol
    options: Options
    plan: Plan
    device: torch.device
    precision: str
    executor: Executor

    @property
    def train(self):
        """The training Items."""
        return self.dataset.train
