"""Delayed recall: name the symbol that stood exactly `lag` steps ago; a cue marked it as it passed.

Every step shows one of S symbols, one-hot, and a cue c_t, which is 1 at one step, q − lag, with q
the last step. The lag is drawn log-uniformly, P(lag = k) ∝ 1/k for k = 1 … `longest_lag`, so that
every order of magnitude is asked alike.

    symbol   b  d  a  c  d  a
    cue      0  0  1  0  0  0      lag 3, target a

Every step before the cue and after it is as much like a symbol to keep as the cued one.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask, require_symbols
from lookback.errors import UserError


class DelayedRecall(GeneratedTask):
    """Which symbol was cued?"""

    def __init__(
        self,
        length: int,
        symbols: int,
        longest_lag: int,
        train: int,
        validation: int,
        test: int,
        seed: int,
    ):
        super().__init__(length, train, validation, test, seed)
        require_symbols(symbols)
        if not 1 <= longest_lag < length:
            raise UserError(
                f"longest_lag: {longest_lag} steps before the last one of length {length}: make "
                f"it 1 to {length - 1}, or `length` larger."
            )
        self.symbols, self.longest_lag = symbols, longest_lag
        self.features, self.outputs = symbols + 1, symbols

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Inputs (N, T, S + 1): the symbol, one-hot, then the cue."""
        symbols = generator.integers(0, self.symbols, (count, self.length))
        odds = np.cumsum(1 / np.arange(1, self.longest_lag + 1))
        lag = 1 + np.searchsorted(odds[:-1], generator.random(count) * odds[-1], side="right")
        rows, last = np.arange(count), self.length - 1
        inputs = np.zeros((count, self.length, self.features), dtype=np.float32)
        np.put_along_axis(inputs, symbols[..., None], 1, axis=2)
        inputs[rows, last - lag, -1] = 1
        return SequenceDataset(
            inputs=torch.from_numpy(inputs),
            lengths=torch.full((count,), self.length),
            query=torch.full((count, 1), last),
            target=torch.from_numpy(symbols[rows, last - lag]).unsqueeze(1),
            lag=torch.from_numpy(lag).unsqueeze(1),
            evidence=cued,
        )


def cued(inputs: Float[Tensor, "batch time feature"]) -> Bool[Tensor, "batch 1 time"]:
    """The evidence: the cued step."""
    return inputs[..., -1].unsqueeze(1) > 0.5
