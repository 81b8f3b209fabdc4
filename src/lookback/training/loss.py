"""The training loss: cross-entropy for classes, squared error for values."""

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
    """Loss over the queries of a batch, as the mean or the sum of the losses of all queries.

    The loss of a classification task is the cross-entropy in nats, and the loss of a regression
    task is the squared error. Padding queries (query = −1) contribute neither to the loss nor to
    the number of queries in the mean. `label_smoothing` is the share of the target probability that
    is spread evenly over all classes. Label smoothing has no effect on the loss of a regression
    task.
    """
    asked = query >= 0
    if kind == "class":
        # Padding queries get the class −100, which cross_entropy ignores.
        # Removing padding queries with a mask would make the CPU wait for the GPU.
        classes = target.masked_fill(~asked, -100)
        return F.cross_entropy(
            answers.flatten(0, 1),
            classes.flatten(),
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
    squared = (answers - target).square().mean(dim=-1) * asked
    return squared.sum() / asked.sum() if reduction == "mean" else squared.sum()
