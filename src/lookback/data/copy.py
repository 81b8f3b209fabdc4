"""Copying (Arjovsky, Shah and Bengio 2016, section 4.1): symbols, a long blank, the symbols again.

`items` symbols of S, T blanks of which the last is a delimiter, and as many blanks as symbols, at
which they are asked for in order. Tokens: 0 … S − 1, S blank, S + 1 delimiter. `length` is all of
it, T + 2 · `items`: the paper's T = 1000 with its ten symbols of eight is length 1020.

    token    3 1 2 B B B B D B B B
    target                   3 1 2

The paper also scores the blanks before them, which any model gets right; they are not asked here.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask, require_symbols
from lookback.errors import UserError


class Copy(GeneratedTask):
    """Which symbols came first, in which order?"""

    def __init__(
        self,
        length: int,
        symbols: int,
        items: int,
        train: int,
        validation: int,
        test: int,
        seed: int,
    ):
        super().__init__(length, train, validation, test, seed)
        room = (length - 1) // 2
        require_symbols(symbols)
        if not 1 <= items <= room:
            raise UserError(
                f"items: {items} need a step each to be seen and one to be said, beside the "
                f"delimiter, and length {length} has room for {room}. Make `items` 1 to that, or "
                "`length` larger."
            )
        self.symbols, self.items = symbols, items
        self.features, self.outputs = symbols + 2, symbols

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Inputs (N, T + 2 · items), tokens; target (N, items)."""
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
            evidence=self.seen,
        )

    def seen(self, inputs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch query time"]:
        """The evidence of an answer: the step that showed its symbol."""
        own = torch.eye(self.items, self.length, dtype=torch.bool, device=inputs.device)
        return own.expand(len(inputs), -1, -1)
