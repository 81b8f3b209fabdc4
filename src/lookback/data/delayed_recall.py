"""Delayed recall: which symbol did the sequence show at the cued step, `lag` steps ago?

Each step shows one of S symbols (one-hot) and a cue c_t. The query at the last step q asks for the
symbol of the cued step q − lag. The cue is 1 at step q − lag and 0 at all other steps. The lag is
drawn log-uniformly, P(lag = k) ∝ 1/k for k = 1 … `longest_lag`, so that every order of magnitude of
the lag is equally frequent.

    symbol   b  d  a  c  d  a
    cue      0  0  1  0  0  0      lag 3, target a

All steps show symbols of the same alphabet, so only the cue tells a model which symbol to store.
The most frequent symbol of the sequence needs no cue. The symbol of the last steps needs none
either, but it is no baseline: it is right at short lags alone, as of a model with a short memory.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lookback.data.baselines import MOST_FREQUENT_SYMBOL, Baseline, shortcut
from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask, require_symbols
from lookback.errors import UserError


class DelayedRecall(GeneratedTask):
    """A task whose target is the symbol at the step where the cue is 1."""

    def __init__(
        self,
        length: int,
        symbols: int,
        longest_lag: int,
        train: int,
        validation: int,
        test: int,
        seed: int | str,
    ):
        super().__init__(length, train, validation, test, seed)
        require_symbols(symbols)
        if not 1 <= longest_lag < length:
            raise UserError(
                f"longest_lag: {longest_lag} does not fit a sequence of length {length}; make it "
                f"1 to {length - 1}, or `length` larger."
            )
        self.symbols, self.longest_lag = symbols, longest_lag
        self.features, self.outputs = symbols + 1, symbols

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences with inputs (N, T, S + 1) and targets (N, 1).

        The inputs at a step are the one-hot symbol (S features) and the cue (1 feature).
        """
        symbols = generator.integers(0, self.symbols, (count, self.length))
        bounds = np.cumsum(1 / np.arange(1, self.longest_lag + 1))
        lag = 1 + np.searchsorted(bounds[:-1], generator.random(count) * bounds[-1], side="right")
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
            evidence=cued_step,
        )

    def shortcuts(self, train: SequenceDataset, test: SequenceDataset) -> list[Baseline]:
        """The most frequent symbol of the sequence, wherever the cue is."""
        answers = test.inputs[..., : self.symbols].sum(dim=1).argmax(dim=1)
        return [shortcut(MOST_FREQUENT_SYMBOL, answers.unsqueeze(1), test)]


def cued_step(inputs: Float[Tensor, "batch time feature"]) -> Bool[Tensor, "batch 1 time"]:
    """The evidence of an answer: the cued step."""
    return inputs[..., -1].unsqueeze(1) > 0.5
