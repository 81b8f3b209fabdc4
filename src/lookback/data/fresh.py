"""Fresh train sequences: each training step draws sequences that no earlier step has seen.

The sequences depend only on the seed and on the number of the step, so a resumed training gets the
same sequences without a saved state.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.data.task import Task


@dataclass(frozen=True)
class FreshSequences:
    """Takes the place of a stored train split (class SequenceDataset) in the training loop."""

    task: Task
    size: int  # number of sequences in an epoch, as the task's setting `train` says
    device: torch.device

    def __len__(self) -> int:
        return self.size

    def train_batch(self, step: int, index: Int[Tensor, " batch"]) -> Batch:
        """The batch of a training step, with as many sequences as `index` has entries."""
        drawn = self.task.fresh_sequences(step, len(index)).to(self.device)
        return drawn.batch(slice(None))
