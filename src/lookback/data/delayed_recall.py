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
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from lookback.data.baselines import (
    MOST_FREQUENT_SYMBOL,
    Baseline,
    most_frequent_within,
    shortcut,
)
from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask, narrow, require_symbols
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
        fresh: bool,
    ):
        super().__init__(length, train, validation, test, seed, fresh)
        require_symbols(symbols)
        if not 1 <= longest_lag < length:
            raise UserError(
                f"longest_lag: {longest_lag} does not fit a sequence of length {length}; make it "
                f"1 to {length - 1}, or `length` larger."
            )
        self.symbols, self.longest_lag = symbols, longest_lag
        self.features, self.outputs = symbols + 1, symbols

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences with stored inputs (N, T) and targets (N, 1).

        A stored input is the number of the symbol, plus S at the cued step.
        """
        symbols = generator.integers(0, self.symbols, (count, self.length))
        bounds = np.cumsum(1 / np.arange(1, self.longest_lag + 1))
        lag = 1 + np.searchsorted(bounds[:-1], generator.random(count) * bounds[-1], side="right")
        rows, last = np.arange(count), self.length - 1
        target = torch.from_numpy(symbols[rows, last - lag]).unsqueeze(1)
        symbols[rows, last - lag] += self.symbols
        return SequenceDataset(
            inputs=narrow(torch.from_numpy(symbols), 2 * self.symbols),
            lengths=torch.full((count,), self.length),
            query=torch.full((count, 1), last),
            target=target,
            lag=torch.from_numpy(lag).unsqueeze(1),
            evidence=cued_step,
            encode=self.symbol_and_cue,
        )

    def symbol_and_cue(
        self, codes: Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time feature"]:
        """The features of a step: the one-hot symbol, and 1 if the step is cued, else 0."""
        cue = (torch.arange(2 * self.symbols) >= self.symbols).unsqueeze(-1)
        table = torch.cat([torch.eye(self.symbols).repeat(2, 1), cue], dim=1)
        return functional.embedding(codes.int(), table.to(codes.device))

    def shortcuts(self, train: SequenceDataset, test: SequenceDataset) -> list[Baseline]:
        """The most frequent symbol of the sequence, wherever the cue is."""
        answers = most_frequent_within(test.inputs % self.symbols, self.symbols)
        return [shortcut(MOST_FREQUENT_SYMBOL, answers.unsqueeze(1), test)]


def cued_step(inputs: Float[Tensor, "batch time feature"]) -> Bool[Tensor, "batch 1 time"]:
    """The evidence of an answer: the cued step."""
    return inputs[..., -1].unsqueeze(1) > 0.5
