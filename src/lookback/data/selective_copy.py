"""Selective copying [gu2023], section 4.1.1, is to repeat the symbols that stand among blanks.

The first T − `items` steps hold `items` symbols at random steps, and blanks at all other steps. The
last `items` steps hold the token «now». The queries at the last `items` steps ask for the symbols
in the order of the sequence. A model that repeats its inputs after a fixed delay can solve the
copying task of [arjovsky2016]. A model with a fixed delay cannot solve selective copying, because
the symbols are at random steps. Token 0 is the blank, tokens 1 … S are the symbols, and token S + 1
is «now».

    token    0 3 0 0 1 0 2 0 N N N
    target                   3 1 2      as classes 2 0 1

The most frequent symbol of the sequence, as the answer to all queries, needs no memory of the
order. It is the best answer of a model that knows how often each symbol appeared and nothing else.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lookback.data.baselines import (
    MOST_FREQUENT_SYMBOL,
    Baseline,
    most_frequent_within,
    shortcut,
)
from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask, distinct, require_symbols
from lookback.errors import UserError


class SelectiveCopy(GeneratedTask):
    """A task whose targets are the symbols among the blanks, in the order of the sequence."""

    def __init__(
        self,
        length: int,
        symbols: int,
        items: int,
        train: int,
        validation: int,
        test: int,
        seed: int | str,
        fresh: bool,
    ):
        super().__init__(length, train, validation, test, seed, fresh)
        require_symbols(symbols)
        if not 1 <= items <= length // 2:
            raise UserError(
                f"items: {items}; each item needs 2 steps, and length {length} has room for "
                f"{length // 2} items. Make `items` 1 to {length // 2}, or `length` larger."
            )
        self.symbols, self.items = symbols, items
        self.features, self.outputs = symbols + 2, symbols

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences of T tokens, with the symbols in their order as targets (N, `items`)."""
        first_query = self.length - self.items
        steps = np.sort(distinct(generator, count, self.items, first_query), axis=1)
        symbols = generator.integers(0, self.symbols, (count, self.items))
        inputs = np.zeros((count, self.length), dtype=np.int64)
        np.put_along_axis(inputs, steps, symbols + 1, axis=1)
        inputs[:, first_query:] = self.symbols + 1
        query = np.tile(np.arange(first_query, self.length), (count, 1))
        return SequenceDataset(
            inputs=torch.from_numpy(inputs),
            lengths=torch.full((count,), self.length),
            query=torch.from_numpy(query),
            target=torch.from_numpy(symbols),
            lag=torch.from_numpy(query - steps),
            evidence=self.symbol_steps,
        )

    def shortcuts(self, train: SequenceDataset, test: SequenceDataset) -> list[Baseline]:
        """The most frequent symbol of the sequence, whatever the place that is asked."""
        answers = most_frequent_within(test.inputs - 1, self.symbols)
        return [shortcut(MOST_FREQUENT_SYMBOL, answers.unsqueeze(1).expand(test.query.shape), test)]

    def symbol_steps(self, inputs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch query time"]:
        """The evidence of an answer: the step that shows the symbol."""
        is_symbol = (inputs >= 1) & (inputs <= self.symbols)
        number = torch.arange(1, self.items + 1, device=inputs.device).view(1, -1, 1)
        return is_symbol.unsqueeze(1) & (is_symbol.cumsum(dim=1).unsqueeze(1) == number)
