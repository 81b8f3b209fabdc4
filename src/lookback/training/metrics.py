"""Scores of a data split beside the task's metric, from torchmetrics, one batch after another.

A classification task has the macro F1 score and the accuracy of each class. If its sequences have
several queries, such as those of the copy task, it also has the share of sequences whose answers
are all correct. A regression task has the mean absolute error and R².
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MeanAbsoluteError, Metric, R2Score
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassExactMatch,
    MulticlassF1Score,
)

from lookback.data.batch import Batch
from lookback.data.task import Facts

MOST_CLASSES = 50  # With more classes, there is no accuracy of each class.


class OtherMetrics:
    """The other scores of a data split, which `update` accumulates and `compute` returns."""

    def __init__(self, facts: Facts) -> None:
        self.kind = facts.kind
        self.classes = facts.outputs
        self.by_query: dict[str, Metric] = {}  # metrics of single answers
        self.exact: MulticlassExactMatch | None = None
        self.answers = 0
        if facts.kind == "value":
            self.by_query = {"mae": MeanAbsoluteError(), "r2": R2Score()}
        elif facts.outputs > 1:  # torchmetrics knows no task of one class
            self.by_query["macro_f1"] = MulticlassF1Score(facts.outputs, average="macro")
            self.by_query["class"] = MulticlassAccuracy(facts.outputs, average=None)
            self.exact = MulticlassExactMatch(facts.outputs, ignore_index=-1)
        for metric in self.by_query.values():
            metric.set_dtype(torch.float64)

    def update(self, answers: Float[Tensor, "batch query output"], data: Batch) -> None:
        """Add the answers to the queries of one batch."""
        asked = data.query >= 0
        if not asked.any():
            return
        given = answers.argmax(dim=-1) if self.kind == "class" else answers.double()
        target = data.target if self.kind == "class" else data.target.double()
        self.answers += int(asked.sum())
        for metric in self.by_query.values():
            metric.to(answers.device).update(given[asked], target[asked])
        if self.exact is not None and asked.shape[1] > 1:
            is_asked = asked.any(dim=1)
            wanted = target.masked_fill(~asked, -1)[is_asked]
            self.exact.to(answers.device).update(given[is_asked], wanted)

    def compute(self) -> dict[str, float]:
        """The scores by name. A score that the answers do not determine is left out.

        The scores are `macro_f1`, `class_<number>/accuracy` and `sequence_accuracy`, or `mae` and
        `r2`. A class that the split does not ask for has no accuracy, and a single answer has no
        R².
        """
        scores: dict[str, float] = {}
        for name, metric in self.by_query.items():
            if name == "class":
                if self.classes <= MOST_CLASSES:
                    scores |= _by_class(metric)
            elif name != "r2" or self.answers > 1:
                scores[name] = float(metric.compute())
        if self.exact is not None and self.exact.update_called:
            scores["sequence_accuracy"] = float(self.exact.compute())
        return scores


def _by_class(metric: Metric) -> dict[str, float]:
    """The share of correct answers among the answers to each class that occurs as a target."""
    right, wrong = torch.as_tensor(metric.tp), torch.as_tensor(metric.fn)
    counts = zip(right.tolist(), wrong.tolist(), strict=True)
    return {
        f"class_{number}/accuracy": hits / (hits + misses)
        for number, (hits, misses) in enumerate(counts)
        if hits + misses
    }
