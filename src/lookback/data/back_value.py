"""Back value: each step shows a number, and asks for the number that stood k steps before.

Each step shows a number x_t ~ U(−1, 1). From step max(lags) on, a query at each step asks for
x_{t−k}, and the step shows k (one-hot). The numbers and the lags k are drawn independently of each
other.

    value     .4  −.7   .1   .9  −.2      lags 1 and 2
    lag k                2    1    2
    target              .4   .1   .1

The constant answer 0, the mean target, has the mean squared error Var(x) = 1/3 at every lag. A
number of any precision can be stored in part, so the error grows with the lag by degrees.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.asked_lags import AskedLags
from lookback.data.batch import SequenceDataset


class BackValue(AskedLags):
    """A task whose targets are the numbers that stood the asked number of steps before."""

    kind = "value"

    def __init__(
        self,
        length: int,
        lags: Sequence[int],
        train: int,
        validation: int,
        test: int,
        seed: int | str,
        fresh: bool,
    ):
        super().__init__(length, lags, train, validation, test, seed, fresh)
        self.features, self.outputs = 1 + len(lags), 1

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences with stored inputs (N, T, 2) and targets (N, Q, 1), Q = T − max(lags).

        A stored input is the value and the stored question.
        """
        values = generator.uniform(-1, 1, (count, self.length)).astype(np.float32)
        question, query, lag = self.draw_questions(count, generator)
        return SequenceDataset(
            inputs=torch.from_numpy(np.stack([values, question.astype(np.float32)], axis=2)),
            lengths=torch.full((count,), self.length),
            query=torch.from_numpy(query),
            target=torch.from_numpy(np.take_along_axis(values, query - lag, axis=1)).unsqueeze(-1),
            lag=torch.from_numpy(lag),
            evidence=self.asked_step,
            encode=self.value_and_question,
        )

    def value_and_question(
        self, stored: Float[Tensor, "batch time 2"]
    ) -> Float[Tensor, "batch time feature"]:
        """The features of a step: the value (1) and the one-hot question (R)."""
        return torch.cat([stored[..., :1], self.one_hot_question(stored[..., 1].int())], dim=-1)
