"""The order of the sequences: a function of seed and epoch alone, so resuming needs no state."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset


def order(sequences: int, *, seed: int, epoch: int) -> Int[Tensor, " sequence"]:
    """A permutation, the same on every device: drawn on the CPU."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(sequences, generator=generator)


class Batches:
    """One epoch of a split that lies whole on the device: a batch is one indexing."""

    def __init__(
        self, data: SequenceDataset, batch_size: int, *, seed: int, epoch: Callable[[], int]
    ):
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        index = order(len(self.data), seed=self.seed, epoch=self.epoch()).to(
            self.data.inputs.device
        )
        for part in torch.split(index, self.batch_size):
            yield self.data.batch(part)
