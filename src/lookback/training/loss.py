"""The loss of an answer: cross-entropy of a class, squared error of a value."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def answer_loss(
    answers: Float[Tensor, "batch query output"],
    query: Int[Tensor, "batch query"],
    target: Int[Tensor, "batch query"] | Float[Tensor, "batch query value"],
    kind: Literal["class", "value"],
    *,
    reduction: Literal["mean", "sum"] = "mean",
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Loss over the queries that ask something (query ≥ 0), in nats or squared units.

    `label_smoothing`: the share of a class's target that all classes get; of a value there is none.
    """
    asked = query >= 0
    if kind == "class":
        # -100 is what cross_entropy leaves out: no indexing, so nothing waits for the device.
        wanted = target.masked_fill(~asked, -100)
        return F.cross_entropy(
            answers.flatten(0, 1),
            wanted.flatten(),
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
    squared = (answers - target).square().mean(dim=-1) * asked
    return squared.sum() / asked.sum() if reduction == "mean" else squared.sum()
