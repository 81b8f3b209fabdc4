"""Parity: is the number of ones so far odd? y_t = y_{t−1} XOR x_t, with a query at every step.

To compute parity, a model needs one bit of state, and each input 1 flips the bit. A linear
recurrence whose eigenvalues are all real and non-negative cannot compute parity [grazzi2025],
theorem 1.

    token    0 1 1 0 1
    target   0 1 0 0 1

All bits up to step t decide the answer at step t, so the lag of the answer at step t is t. On
parity, the skill at lag k measures whether a model updates its state for k steps without an error.
On parity, the skill at lag k does not measure whether a model remembers one bit for k steps.

Parity has no shortcut: the bits of any other set of steps say nothing about the answer.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask
from lookback.errors import UserError


class Parity(GeneratedTask):
    """A task whose target at each step is 1 if the number of ones so far is odd, else 0."""

    features, outputs = 2, 2

    def __init__(
        self, length: int, train: int, validation: int, test: int, seed: int | str, fresh: bool
    ):
        super().__init__(length, train, validation, test, seed, fresh)
        if length < 1:
            raise UserError(f"length: {length} leaves no room for a bit; make it 1 or more.")

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences of T bits, with the parity of the bits so far as targets (N, T)."""
        bits = torch.from_numpy(generator.integers(0, 2, (count, self.length)))
        steps = torch.arange(self.length).repeat(count, 1)
        return SequenceDataset(
            inputs=bits,
            lengths=torch.full((count,), self.length),
            query=steps,
            target=bits.cumsum(dim=1) % 2,
            lag=steps.clone(),
            evidence=steps_so_far,
        )


def steps_so_far(inputs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch time time"]:
    """The evidence of an answer: all steps up to the query."""
    count, length = inputs.shape
    ones = torch.ones(length, length, dtype=torch.bool, device=inputs.device)
    return ones.tril().expand(count, -1, -1)
