"""The adding problem [hochreiter1997], section 5.4, asks for the sum of two marked values.

Each step has two features: a value x_t ~ U(0, 1) and a marker m_t. In each half of the sequence,
the marker is 1 at one random step and 0 at all other steps. The query at the last step asks for the
sum of the two values whose marker is 1. As in later papers, and unlike in [hochreiter1997], the
values are between 0 and 1, and the target is the plain sum.

    value   .31  .72  .05  .90  .44  .61
    marker   0    1    0    0    1    0      target .72 + .44 = 1.16

The constant answer 1, the mean target, has the mean squared error Var(x + x') = 2 · 1/12 = 1/6.
Twice the mean of all values of the sequence needs no marker, and has the error 1/6 · (1 − 2 / T).
The sum of the last marked value and 1/2 has half the error of the constant. It is no baseline,
because a model that answers so has forgotten the first mark.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lookback.data.baselines import Baseline, shortcut
from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask
from lookback.errors import UserError


class Adding(GeneratedTask):
    """A task whose target is the sum of the two marked values of a sequence."""

    kind = "value"
    features, outputs = 2, 1
    threshold = 0.75  # without the first mark, one half of the variance is still explained

    def __init__(
        self, length: int, train: int, validation: int, test: int, seed: int | str, fresh: bool
    ):
        super().__init__(length, train, validation, test, seed, fresh)
        if length < 2:
            raise UserError(
                f"length: {length} is too short for the two marked steps of the adding problem; "
                "make it 2 or more."
            )

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences with stored inputs (N, T) and targets (N, 1, 1).

        A stored input is a value, with a negative sign if the value is marked.
        """
        half = self.length // 2
        values = generator.random((count, self.length), dtype=np.float32)
        first = generator.integers(0, half, count)
        second = generator.integers(half, self.length, count)

        rows = np.arange(count)
        target = values[rows, first] + values[rows, second]
        for step in (first, second):
            values[rows, step] = -values[rows, step]
        last = self.length - 1
        return SequenceDataset(
            inputs=torch.from_numpy(values),
            lengths=torch.full((count,), self.length),
            query=torch.full((count, 1), last),
            target=torch.from_numpy(target).view(count, 1, 1),
            lag=torch.from_numpy(last - first).unsqueeze(1),
            evidence=marked_steps,
            encode=value_and_marker,
        )

    def shortcuts(self, train: SequenceDataset, test: SequenceDataset) -> list[Baseline]:
        """Twice the mean of all values, which needs no marker."""
        answers = 2 * test.inputs.abs().mean(dim=1)
        return [shortcut("twice the mean of the values", answers.view(-1, 1, 1), test)]


def value_and_marker(signed: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time 2"]:
    """The features of a step: its value, and 1 if the stored value has a negative sign, else 0."""
    return torch.stack([signed.abs(), signed.signbit().to(signed.dtype)], dim=-1)


def marked_steps(inputs: Float[Tensor, "batch time 2"]) -> Bool[Tensor, "batch 1 time"]:
    """The evidence of the sum: the two marked steps."""
    return inputs[..., 1].unsqueeze(1) > 0.5
