"""The copying task [arjovsky2016], section 4.1, is to repeat symbols after many blanks.

The sequence starts with `items` random symbols from an alphabet of S symbols. The symbols are
followed by T − 1 blanks (T is the delay), one delimiter and `items` more blanks. The queries at the
last `items` blanks ask for the symbols in the order of the sequence. Tokens 0 … S − 1 are the
symbols, token S is the blank, and token S + 1 is the delimiter.

The argument `length` is the number of tokens in the whole sequence, T + 2 · `items` with the delay
T. For example, T = 1000 and `items` = 10, as in [bai2018], give `length` = 1020.

    token    3 1 2 B B B B D B B B
    target                   3 1 2

The score in [arjovsky2016] includes the steps before the last `items` steps, where the target is a
blank. The task in this file has no query where the target is a blank, because every model predicts
the blanks correctly.

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
from lookback.data.generated import GeneratedTask, require_symbols
from lookback.errors import UserError


class Copy(GeneratedTask):
    """A task whose targets are the first `items` symbols of the sequence, in their order."""

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
        most_items = (length - 1) // 2
        require_symbols(symbols)
        if not 1 <= items <= most_items:
            raise UserError(
                f"items: {items}; each item needs 2 steps and the delimiter 1, and length {length} "
                f"has room for {most_items} items. Make `items` 1 to {most_items}, or `length` "
                "larger."
            )
        self.symbols, self.items = symbols, items
        self.features, self.outputs = symbols + 2, symbols

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences of `length` tokens, with the `items` symbols as targets (N, `items`)."""
        first = self.length - self.items
        symbols = generator.integers(0, self.symbols, (count, self.items))
        inputs = np.full((count, self.length), self.symbols)
        inputs[:, : self.items] = symbols
        inputs[:, first - 1] = self.symbols + 1
        return SequenceDataset(
            inputs=torch.from_numpy(inputs),
            lengths=torch.full((count,), self.length),
            query=torch.arange(first, self.length).repeat(count, 1),
            target=torch.from_numpy(symbols),
            lag=torch.full((count, self.items), first),
            evidence=self.symbol_steps,
        )

    def shortcuts(self, train: SequenceDataset, test: SequenceDataset) -> list[Baseline]:
        """The most frequent symbol of the sequence, whatever the place that is asked."""
        answers = most_frequent_within(test.inputs[:, : self.items], self.symbols)
        return [shortcut(MOST_FREQUENT_SYMBOL, answers.unsqueeze(1).expand(test.query.shape), test)]

    def symbol_steps(self, inputs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch query time"]:
        """The evidence of an answer: the step that shows the symbol."""
        is_evidence = torch.eye(self.items, self.length, dtype=torch.bool, device=inputs.device)
        return is_evidence.expand(len(inputs), -1, -1)
