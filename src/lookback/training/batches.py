"""The order of the sequences: a function of seed and epoch alone, so resuming needs no state."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from jaxtyping import Int
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset


def order(sequences: int, *, seed: int, epoch: int) -> Int[Tensor, " sequence"]:
    """A permutation, the same on every device: drawn on the CPU."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(sequences, generator=generator)


class Batches:
    """One epoch of a split that lies whole on the device: a batch is one indexing.

    They come in windows, which end where a step of the whole run is a multiple of `window`, and
    with the epoch.
    """

    def __init__(
        self,
        data: SequenceDataset,
        batch_size: int,
        window: int,
        *,
        seed: int,
        epoch: Callable[[], int],
    ):
        self.data = data
        self.batch_size = batch_size
        self.window = window
        self.seed = seed
        self.epoch = epoch

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        epoch = self.epoch()
        index = order(len(self.data), seed=self.seed, epoch=epoch).to(self.data.inputs.device)
        parts = torch.split(index, self.batch_size)
        first = self.window - epoch * len(parts) % self.window
        for start, end in pairwise([0, *range(first, len(parts), self.window), len(parts)]):
            yield map(self.data.batch, parts[start:end])
