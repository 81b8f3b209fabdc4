"""The base class of tasks that ask, at each step, for the input that stood k steps before.

The lag k is one of R lags, drawn at random for each query. The inputs show k at the step of its
query and at no other step, so a model must hold all of the last max(lags) inputs until it sees k.
The load of the memory is thus the same for all lags. The queries are at all steps from step
max(lags) on, because the earlier steps have no input that stood max(lags) steps before.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from lookback.data.generated import GeneratedTask
from lookback.errors import UserError


class AskedLags(GeneratedTask):
    """A task with R questions, one for each lag.

    The last R features of the inputs are the question, the one-hot code of the lag that a step asks
    for. They are zero at the steps before the first query. A split stores the number of the lag in
    the list `lags`, and R at the steps without a query.
    """

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
        super().__init__(length, train, validation, test, seed, fresh)
        if not lags or len(set(lags)) < len(lags) or not 1 <= min(lags) <= max(lags) < length:
            raise UserError(
                f"lags: {list(lags)}; make them one or more different numbers from 1 to "
                f"{length - 1}, or `length` larger."
            )
        self.lags = np.array(list(lags))
        self.first_query = max(lags)

    def draw_questions(
        self, count: int, generator: np.random.Generator
    ) -> tuple[
        Int[np.ndarray, "count time"],
        Int[np.ndarray, "count query"],
        Int[np.ndarray, "count query"],
    ]:
        """Draw the lag of each query of `count` sequences, with equal probabilities.

        Returns the stored question of each step, the steps of the queries, and their lags.
        """
        queries = self.length - self.first_query
        number = generator.integers(0, len(self.lags), (count, queries))
        question = np.full((count, self.length), len(self.lags))
        question[:, self.first_query :] = number
        steps = np.tile(np.arange(self.first_query, self.length), (count, 1))
        return question, steps, self.lags[number]

    def one_hot_question(
        self, question: Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time question"]:
        """The question features of stored questions."""
        table = torch.eye(len(self.lags) + 1, len(self.lags), device=question.device)
        return functional.embedding(question, table)

    def asked_step(
        self, inputs: Float[Tensor, "batch time feature"]
    ) -> Bool[Tensor, "batch query time"]:
        """The evidence of an answer: the step that stood the asked number of steps before."""
        device = inputs.device
        number = inputs[:, self.first_query :, -len(self.lags) :].argmax(dim=-1)
        query = torch.arange(self.first_query, self.length, device=device)
        asked = query - torch.from_numpy(self.lags).to(device)[number]
        return asked.unsqueeze(-1) == torch.arange(self.length, device=device)
