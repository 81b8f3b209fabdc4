"""Selective copying (Gu and Dao 2023, section 4.1.1): symbols among blanks, to be said in order.

`items` symbols stand at random steps of the first T − items, the rest of which is blank; then as
many steps say «now», and at each the next symbol is asked for. With random gaps no fixed delay
answers it, as it does the copying of Arjovsky et al. 2016. Tokens: 0 blank, 1 … S, S + 1 «now».

    token    0 3 0 0 1 0 2 0 N N N
    target                   3 1 2      as classes 2 0 1
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask, distinct, require_symbols
from lookback.errors import UserError


class SelectiveCopy(GeneratedTask):
    """Which symbols were there, in which order?"""

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
        require_symbols(symbols)
        if not 1 <= items <= length // 2:
            raise UserError(
                f"items: {items} need a step each to be seen and one to be said, and length "
                f"{length} has room for {length // 2}. Make `items` 1 to that, or `length` larger."
            )
        self.symbols, self.items = symbols, items
        self.features, self.outputs = symbols + 2, symbols

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Inputs (N, T), tokens; target (N, items)."""
        shown = self.length - self.items
        steps = np.sort(distinct(generator, count, self.items, shown), axis=1)
        symbols = generator.integers(0, self.symbols, (count, self.items))
        inputs = np.zeros((count, self.length), dtype=np.int64)
        np.put_along_axis(inputs, steps, symbols + 1, axis=1)
        inputs[:, shown:] = self.symbols + 1
        query = np.tile(np.arange(shown, self.length), (count, 1))
        return SequenceDataset(
            inputs=torch.from_numpy(inputs),
            lengths=torch.full((count,), self.length),
            query=torch.from_numpy(query),
            target=torch.from_numpy(symbols),
            lag=torch.from_numpy(query - steps),
            evidence=self.shown,
        )

    def shown(self, inputs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch query time"]:
        """The evidence of an answer: the step that showed its symbol."""
        is_symbol = (inputs >= 1) & (inputs <= self.symbols)
        place = torch.arange(1, self.items + 1, device=inputs.device).view(1, -1, 1)
        return is_symbol.unsqueeze(1) & (is_symbol.cumsum(dim=1).unsqueeze(1) == place)
