"""Shuffled batches of the training split.

The order of the sequences depends on the seed and the epoch alone. A resumed run therefore needs no
saved random state to see the same batches.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from jaxtyping import Int
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset


def order(sequences: int, *, seed: int, epoch: int) -> Int[Tensor, " sequence"]:
    """The order of the training sequences in one epoch, a random permutation of 0 … sequences − 1.

    The permutation is drawn on the CPU, so every device gets the same order.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(sequences, generator=generator)


class Batches:
    """The batches of one epoch, grouped into windows of `window` optimiser steps.

    An iterator over windows; each window is an iterator over batches. A window ends at every step
    number of the whole run that is a multiple of `window`, and at the end of the epoch. The whole
    split is stored on the device, so a batch is made by one indexing operation.
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
        first_end = self.window - epoch * len(parts) % self.window
        for start, end in pairwise([0, *range(first_end, len(parts), self.window), len(parts)]):
            yield map(self.data.batch, parts[start:end])
