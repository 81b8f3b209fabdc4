"""Trivial baseline of a task: the test score of the best constant answer.

The constant answer to all queries is computed from the targets of the train split. The constant
answer is the most frequent class if the targets are classes, and the mean of the targets if the
targets are real values.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.errors import UserError


@dataclass(frozen=True)
class Baseline:
    """The score on the test split if every answer is the same constant."""

    name: str  # name of the constant answer, "most frequent class" or "mean of the targets"
    metric: Literal["accuracy", "mse"]
    score: float


def most_frequent_class(
    train: Int[Tensor, " answer"] | Float[Tensor, "answer value"],
    test: Int[Tensor, " other"] | Float[Tensor, "other value"],
) -> Baseline:
    """The accuracy on `test` if every answer is the most frequent class of `train`.

    If several classes are equally frequent in `train`, the answer is the smallest class index.
    Raises UserError if the targets are real values.
    """
    if train.is_floating_point():
        raise UserError(
            "The task's targets are real values, but its kind is `class`. Make the kind `value`, "
            "or make the targets classes (int64)."
        )
    answer = train.bincount().argmax()
    return Baseline("most frequent class", "accuracy", (test == answer).double().mean().item())


def mean_of_targets(
    train: Float[Tensor, "answer value"], test: Float[Tensor, "other value"]
) -> Baseline:
    """The mean squared error on `test` if every answer is the mean of the targets in `train`.

    The error is computed in float64.
    """
    error = test.double() - train.double().mean(dim=0)
    return Baseline("mean of the targets", "mse", error.square().mean().item())


def asked_targets(
    data: SequenceDataset,
) -> Int[Tensor, " answer"] | Float[Tensor, "answer value"]:
    """The targets of all queries of a split except the padding queries, whose step is −1."""
    return data.target[data.query >= 0]
