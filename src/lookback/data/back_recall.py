"""Back recall: each step shows a symbol, and asks for the symbol that stood k steps before.

Each step shows one of S symbols (one-hot). From step max(lags) on, a query at each step asks for
the symbol k steps before, and the step shows k (one-hot). The symbols and the lags k are drawn
independently of each other and with equal probabilities.

    symbol    b  a  a  b  a      lags 1 and 2
    lag k           2  1  2
    target          b  a  a

The state must hold the last max(lags) symbols, which are max(lags) · log2 S bits. A model that
holds only the last n symbols answers the lags up to n and no others. The most frequent symbol so
far needs no memory of the order.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from lookback.data.asked_lags import AskedLags
from lookback.data.baselines import Baseline, shortcut
from lookback.data.batch import SequenceDataset
from lookback.data.generated import narrow, require_symbols


class BackRecall(AskedLags):
    """A task whose targets are the symbols that stood the asked number of steps before."""

    def __init__(
        self,
        length: int,
        symbols: int,
        lags: Sequence[int],
        train: int,
        validation: int,
        test: int,
        seed: int | str,
        fresh: bool,
    ):
        super().__init__(length, lags, train, validation, test, seed, fresh)
        require_symbols(symbols)
        self.symbols = symbols
        self.features, self.outputs = symbols + len(lags), symbols

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences with stored inputs (N, T) and targets (N, Q), Q = T − max(lags).

        A stored input is the symbol, plus S times the stored question.
        """
        symbols = generator.integers(0, self.symbols, (count, self.length))
        question, query, lag = self.draw_questions(count, generator)
        codes = torch.from_numpy(symbols + self.symbols * question)
        return SequenceDataset(
            inputs=narrow(codes, self.symbols * (len(self.lags) + 1)),
            lengths=torch.full((count,), self.length),
            query=torch.from_numpy(query),
            target=torch.from_numpy(np.take_along_axis(symbols, query - lag, axis=1)),
            lag=torch.from_numpy(lag),
            evidence=self.asked_step,
            encode=self.symbol_and_question,
        )

    def symbol_and_question(
        self, codes: Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time feature"]:
        """The features of a step: the one-hot symbol (S) and the one-hot question (R)."""
        codes = codes.int()
        symbols = torch.eye(self.symbols, device=codes.device)
        one_hot = functional.embedding(codes % self.symbols, symbols)
        question = self.one_hot_question(codes // self.symbols)
        return torch.cat([one_hot, question], dim=-1)

    def shortcuts(self, train: SequenceDataset, test: SequenceDataset) -> list[Baseline]:
        """The most frequent symbol so far, whatever the lag that is asked."""
        symbols = test.inputs % self.symbols
        is_symbol = torch.stack([symbols == symbol for symbol in range(self.symbols)], dim=-1)
        counts = is_symbol.cumsum(dim=1)
        answers = counts[:, self.first_query :].argmax(dim=2)
        return [shortcut("most frequent symbol so far", answers, test)]
