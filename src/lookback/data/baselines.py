"""Trivial baseline of a task: the test score of the best constant answer.

The constant is fitted on the train split. A class task answers the most frequent class, and a value
task answers the mean of the targets.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import SequenceDataset


@dataclass(frozen=True)
class Baseline:
    """The score of a constant answer on the test split."""

    name: str  # the constant answer: "most frequent class" or "mean of the targets"
    metric: Literal["accuracy", "mse"]
    score: float


def most_frequent_class(train: Int[Tensor, " answer"], test: Int[Tensor, " other"]) -> Baseline:
    """The accuracy on `test` of the class that is most frequent in `train`.

    The function chooses the smallest class if several classes are equally frequent.
    """
    answer = train.bincount().argmax()
    return Baseline("most frequent class", "accuracy", (test == answer).double().mean().item())


def mean_of_targets(
    train: Float[Tensor, "answer value"], test: Float[Tensor, "other value"]
) -> Baseline:
    """The mean squared error on `test` of the mean of `train`, in float64."""
    error = test.double() - train.double().mean(dim=0)
    return Baseline("mean of the targets", "mse", error.square().mean().item())


def asked_targets(
    data: SequenceDataset,
) -> Int[Tensor, " answer"] | Float[Tensor, "answer value"]:
    """The targets of all queries of a split, without the padding queries (step −1)."""
    return data.target[data.query >= 0]
