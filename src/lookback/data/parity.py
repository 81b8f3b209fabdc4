"""Parity: after every bit, is the number of ones so far odd? y_t = y_{t−1} XOR x_t.

It needs one bit of state, but one that any step may turn, and so is beyond a linear recurrence with
no eigenvalue but real ones from 0 on (Grazzi et al. 2025, «Unlocking state-tracking in linear RNNs
through negative eigenvalues», theorem 1).

    token    0 1 1 0 1
    target   0 1 0 0 1

Every bit up to t decides the answer at t, so its lag is t, back to the first: skill by lag then
says for how many steps the state holds, which is not how far back a bit is remembered.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask
from lookback.errors import UserError


class Parity(GeneratedTask):
    """Is the number of ones odd?"""

    features, outputs = 2, 2

    def __init__(self, length: int, train: int, validation: int, test: int, seed: int):
        super().__init__(length, train, validation, test, seed)
        if length < 1:
            raise UserError(f"length: {length} steps have no bit; make it 1 or more.")

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Inputs (N, T), bits; target (N, T)."""
        bits = torch.from_numpy(generator.integers(0, 2, (count, self.length)))
        steps = torch.arange(self.length).repeat(count, 1)
        return SequenceDataset(
            inputs=bits,
            lengths=torch.full((count,), self.length),
            query=steps,
            target=bits.cumsum(dim=1) % 2,
            lag=steps.clone(),
            evidence=so_far,
        )


def so_far(inputs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch time time"]:
    """The evidence: all steps up to the query."""
    count, length = inputs.shape
    ones = torch.ones(length, length, dtype=torch.bool, device=inputs.device)
    return ones.tril().expand(count, -1, -1)
