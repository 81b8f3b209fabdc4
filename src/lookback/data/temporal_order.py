"""Temporal order [hochreiter1997], section 5.6, asks in which order the marks X and Y appeared.

A sequence of one-hot symbols starts with E and ends with B. Between E and B, two or three steps
show a mark (X or Y), and all other steps show a random distractor (a, b, c or d). The query at the
final symbol B asks for the marks in their order.

    symbol   E b X a d c Y b B      class 1 of 0 … 3, which are XX, XY, YX, YY.

The sequences of [hochreiter1997] have 100 to 110 symbols. Problem 6a of [hochreiter1997] has two
marks, at random steps in 10–20 and 50–60. Problem 6b of [hochreiter1997] has three marks, at random
steps in 10–20, 33–43 and 66–76. The argument `length` is the length of the longest sequence. All
lengths and step ranges of [hochreiter1997] are multiplied by `length` / 110.

The number of marks Y needs no memory of their order. With it alone, 3/4 of the answers are right
for two marks, and 1/2 for three marks.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from lookback.data.baselines import Baseline, most_frequent_given, shortcut
from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask, narrow
from lookback.errors import UserError

# The features of the one-hot symbols are, in this order, a, b, c, d, E, B, X and Y.
DISTRACTORS, START, END, X, Y, PADDING = 4, 4, 5, 6, 7, 8
LONGEST, SHORTEST = 110, 100  # steps of the paper's sequences
BOUNDS = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}  # step ranges by marks


class TemporalOrder(GeneratedTask):
    """A task whose target is the order of the marks X and Y in the sequence."""

    features = Y + 1

    def __init__(
        self,
        length: int,
        marks: int,
        train: int,
        validation: int,
        test: int,
        seed: int | str,
        fresh: bool,
    ):
        super().__init__(length, train, validation, test, seed, fresh)
        if marks not in BOUNDS:
            raise UserError(
                f"marks: {marks}; make it 2 (problem 6a of the paper) or 3 (problem 6b)."
            )
        if length < LONGEST // 10:
            raise UserError(
                f"length: {length} is too short for the paper's step ranges of the marks; make it "
                f"{LONGEST // 10} or more."
            )
        self.bounds = BOUNDS[marks]
        self.outputs = 2**marks

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences with the numbers of their symbols (N, T) and targets (N, 1)."""
        rows = np.arange(count)
        lengths = self._between(SHORTEST, LONGEST, count, generator)
        symbols = generator.integers(0, DISTRACTORS, (count, self.length))
        steps = np.stack([self._between(*bound, count, generator) for bound in self.bounds], axis=1)
        is_y = generator.integers(0, 2, steps.shape)
        symbols[:, 0], symbols[rows, lengths - 1] = START, END
        np.put_along_axis(symbols, steps, X + is_y, axis=1)
        symbols[np.arange(self.length) >= lengths[:, None]] = PADDING
        return SequenceDataset(
            inputs=narrow(torch.from_numpy(symbols), PADDING + 1),
            lengths=torch.from_numpy(lengths),
            query=torch.from_numpy(lengths - 1).unsqueeze(1),
            target=torch.from_numpy(is_y @ 2 ** np.arange(steps.shape[1])[::-1]).unsqueeze(1),
            lag=torch.from_numpy(lengths - 1 - steps[:, 0]).unsqueeze(1),
            evidence=marked_steps,
            encode=one_hot,
        )

    def shortcuts(self, train: SequenceDataset, test: SequenceDataset) -> list[Baseline]:
        """The most frequent class of the sequences with the same number of marks Y."""
        marks_y, test_marks_y = ((data.inputs == Y).sum(dim=1) for data in (train, test))
        answers = most_frequent_given(marks_y, train.target[:, 0], test_marks_y)
        return [shortcut("number of marks without their order", answers.unsqueeze(1), test)]

    def _between(
        self, low: int, high: int, count: int, generator: np.random.Generator
    ) -> np.ndarray:
        """Draw integers from `low` · `length` / 110 to `high` · `length` / 110, both included."""
        least, most = (bound * self.length // LONGEST for bound in (low, high))
        return generator.integers(least, most, count, endpoint=True)


def one_hot(symbols: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time 8"]:
    """The one-hot vectors of symbols, which are zero after the end of a sequence."""
    table = torch.eye(PADDING + 1, PADDING, device=symbols.device)
    return functional.embedding(symbols.int(), table)


def marked_steps(inputs: Float[Tensor, "batch time 8"]) -> Bool[Tensor, "batch 1 time"]:
    """The evidence of an answer: the steps with a mark."""
    return (inputs[..., X:] > 0.5).any(dim=-1).unsqueeze(1)
