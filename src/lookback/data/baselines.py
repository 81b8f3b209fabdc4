"""Baselines of a task: the test scores of answers that show no memory of the evidence.

Each task has one constant baseline: the most frequent class of the train split, or the mean of its
targets. A generated task can have further baselines, its shortcuts. A shortcut is an answer that
needs no long memory, or that needs no binding: it uses the content of the sequence, but not the
place, the order or the relation that the task asks for. A shortcut scores the same at every lag. An
answer that is right for recent evidence and guesses otherwise is no shortcut, because it shows a
short memory, which the recall by lag measures.

Each baseline is fitted on the train split and scored on the test split. The strongest of them is
the trivial baseline, where the skill is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.errors import UserError

MOST_FREQUENT_SYMBOL = "most frequent symbol of this sequence"


@dataclass(frozen=True)
class Baseline:
    """The score of an answer on the test split."""

    name: str  # what the answer is, for example "most frequent class"
    metric: Literal["accuracy", "mse"]
    score: float


def most_frequent_class(
    train: Integer[Tensor, " answer"] | Float[Tensor, "answer value"],
    test: Integer[Tensor, " other"] | Float[Tensor, "other value"],
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


def shortcut(
    name: str,
    answers: Integer[Tensor, "batch query"] | Float[Tensor, "batch query value"],
    test: SequenceDataset,
) -> Baseline:
    """The score of `answers` to the queries of `test`; padding queries do not count.

    The score is the accuracy if the targets are classes, and else the mean squared error, computed
    in float64.
    """
    asked = test.query >= 0
    given, right = answers[asked], test.target[asked]
    if right.is_floating_point():
        error = (given.double() - right.double()).square().mean().item()
        return Baseline(name, "mse", error)
    return Baseline(name, "accuracy", (given == right).double().mean().item())


def most_frequent_within(
    symbols: Integer[Tensor, "batch time"], count: int
) -> Integer[Tensor, " batch"]:
    """The most frequent of the symbols 0 … `count` − 1 in each sequence.

    Other numbers are ignored. Of equally frequent symbols, the function returns the smallest.
    """
    counts = torch.stack([(symbols == symbol).sum(dim=1) for symbol in range(count)], dim=1)
    return counts.argmax(dim=1)


def most_frequent_given(
    train_feature: Integer[Tensor, " answer"],
    train_target: Integer[Tensor, " answer"],
    test_feature: Integer[Tensor, " other"],
) -> Integer[Tensor, " other"]:
    """For each test feature, the most frequent target of the train answers with this feature.

    If no train answer has the feature, the function returns class 0.
    """
    features = 1 + int(max(train_feature.max(), test_feature.max()))
    counts = torch.zeros(features, 1 + int(train_target.max()))
    counts.index_put_((train_feature.long(), train_target.long()), torch.ones(()), accumulate=True)
    return counts.argmax(dim=1)[test_feature.long()]


def baseline_facts(constant: Baseline, shortcuts: list[Baseline]) -> Mapping[str, Any]:
    """The facts of a task about its metric and its baselines, as arguments of the class Facts."""
    best = max if constant.metric == "accuracy" else min
    strongest = best([constant, *shortcuts], key=lambda baseline: baseline.score)
    others = [each for each in (constant, *shortcuts) if each is not strongest]
    return {
        "metric": strongest.metric,
        "baseline": strongest.score,
        "baseline_name": strongest.name,
        "other_baselines": {each.name: each.score for each in others},
    }


def asked_targets(
    data: SequenceDataset,
) -> Integer[Tensor, " answer"] | Float[Tensor, "answer value"]:
    """The targets of all queries of a split except the padding queries, whose step is −1."""
    return data.target[data.query >= 0]
