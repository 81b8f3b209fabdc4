"""Shuffled batches of training sequences.

The order of the batches depends only on the seed and the epoch number, so a resumed run gets the
same batches without a saved state of the random generator. A fresh task draws the batch of a step
from the seed and the number of the step alone.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise, starmap

import torch
from jaxtyping import Int
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.data.fresh import FreshSequences

TrainData = SequenceDataset | FreshSequences


def order(sequences: int, *, seed: int, epoch: int) -> Int[Tensor, " sequence"]:
    """The random order of the training sequences in one epoch.

    The result is a permutation of the integers from 0 to `sequences` − 1. The permutation is drawn
    on the CPU, so it is the same for training on a CPU and on a GPU.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(sequences, generator=generator)


def parts_of(batch: Batch, parts: int) -> Iterator[Batch]:
    """The sequences of a batch, divided among at most `parts` batches of nearly equal size."""
    names = ("inputs", "lengths", "query", "target")
    divided = (getattr(batch, name).chunk(parts) for name in names)
    return starmap(Batch, zip(*divided, strict=True))


class Batches:
    """The remaining batches of an epoch, grouped into windows of consecutive optimiser steps.

    An iteration over a `Batches` object yields windows, and an iteration over a window yields
    batches. The first batch is that of the optimiser step `step()`, counted from 0 at the start of
    the run. A window ends when the number of optimiser steps since the start of the run is a
    multiple of a number in `windows`, and at the end of an epoch. The whole training split is
    stored on the device, so that one indexing operation makes a batch.
    """

    def __init__(
        self,
        data: TrainData,
        batch_size: int,
        windows: tuple[int, ...],
        *,
        seed: int,
        step: Callable[[], int],
    ):
        self.data = data
        self.batch_size = batch_size
        self.windows = windows
        self.seed = seed
        self.step = step

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        epoch, first = divmod(self.step(), -(-len(self.data) // self.batch_size))
        index = order(len(self.data), seed=self.seed, epoch=epoch).to(self.data.device)
        parts = torch.split(index, self.batch_size)
        before = epoch * len(parts)  # optimiser steps before this epoch
        ends = [
            end
            for end in range(first + 1, len(parts))
            if any((before + end) % window == 0 for window in self.windows)
        ]
        for start, end in pairwise([first, *ends, len(parts)]):
            steps = range(before + start, before + end)
            yield map(self.data.train_batch, steps, parts[start:end])
