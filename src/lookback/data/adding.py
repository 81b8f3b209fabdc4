"""The adding problem (Hochreiter and Schmidhuber 1997, section 5.4), in the form used since.

Two features a step: a value x_t ~ U(0, 1) and a marker m_t. One step in each half of the sequence
is marked; after the last step the sum of the two marked values is asked for.

    value   .31  .72  .05  .90  .44  .61
    marker   0    1    0    0    1    0      target .72 + .44 = 1.16

Answering 1 always, the mean, costs Var(x + x') = 2 · 1/12 = 1/6 in squared error.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask
from lookback.errors import UserError


class Adding(GeneratedTask):
    """What do the two marked values add up to?"""

    kind = "value"
    features, outputs = 2, 1

    def __init__(self, length: int, train: int, validation: int, test: int, seed: int):
        super().__init__(length, train, validation, test, seed)
        if length < 2:
            raise UserError(
                f"the adding problem marks two steps: length {length} is too short; make it 2 or "
                "more."
            )

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Inputs (N, T, 2): values and markers; target (N, 1, 1)."""
        half = self.length // 2
        values = generator.random((count, self.length), dtype=np.float32)
        first = generator.integers(0, half, count)
        second = generator.integers(half, self.length, count)

        rows = np.arange(count)
        inputs = np.zeros((count, self.length, 2), dtype=np.float32)
        inputs[..., 0] = values
        inputs[rows, first, 1] = inputs[rows, second, 1] = 1
        target = values[rows, first] + values[rows, second]
        last = self.length - 1
        return SequenceDataset(
            inputs=torch.from_numpy(inputs),
            lengths=torch.full((count,), self.length),
            query=torch.full((count, 1), last),
            target=torch.from_numpy(target).view(count, 1, 1),
            lag=torch.from_numpy(last - first).unsqueeze(1),
            evidence=marked,
        )


def marked(inputs: Float[Tensor, "batch time 2"]) -> Bool[Tensor, "batch 1 time"]:
    """The evidence: the two marked steps."""
    return inputs[..., 1].unsqueeze(1) > 0.5
