"""Truncated back-propagation through time [williams1990], with little memory.

The gradient of an answer reaches at least k steps: the step of the answer and the k − 1 steps
before it, or all steps from the start of the sequence. It reaches less than 1.5 k steps.

The answers of a batch are divided into groups, in the order of their steps. The answers of a group
lie within k/2 steps. The gradient of a group stops at the state that lies k steps before the first
answer of the group. The steps up to this state are computed without an autograd graph, in chunks of
k steps. So the graph of a group spans less than 1.5 k steps. It spans exactly k steps if each
sequence of the batch is asked once, at the same step.

If there are several groups, the graph of a group is built in the backward pass and freed before the
next graph is built. So the graphs of all groups need the memory of one graph. The price is time:
if every step is asked, each step is computed once to carry the state, and three times in each pass,
because the steps of the groups overlap.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lookback.models.base import at_queries

# A function of inputs (B, T, F), lengths (B,) and the state before the first step, which is None at
# the start of a sequence. It returns the outputs (B, T, H) and the state after the last step.
Advance = Callable[[Tensor, Tensor, Any], tuple[Tensor, Any]]


def truncated_features(
    advance: Advance,
    weight: nn.Parameter,
    inputs: Float[Tensor, "batch time feature"],
    lengths: Int[Tensor, " batch"],
    query: Int[Tensor, "batch query"],
    steps: int,
) -> Float[Tensor, "batch query hidden"]:
    """The outputs of `advance` at the queries, each with a gradient of at least `steps` steps.

    `weight` is any weight that `advance` uses. The features of padding queries (-1) have no
    meaning. With several groups of answers, `backward` computes the gradient, but
    torch.autograd.grad raises RuntimeError.
    """
    asked = query.cpu()  # the steps of the queries decide what to compute, so a GPU waits here
    first_asked = min(asked[asked >= 0].tolist(), default=0)
    asked = asked.masked_fill(asked < 0, first_asked)
    groups = group_steps(sorted(set(asked.flatten().tolist())), max(1, steps // 2))
    state, position, parts, width = None, 0, list[Tensor](), 0
    columns, column_of = torch.arange(asked.shape[1]), torch.zeros_like(asked)
    for first, last in groups:
        start = max(0, first - steps + 1)
        with torch.no_grad():
            for begin in range(position, start, steps):
                chunk = inputs[:, begin : min(begin + steps, start)]
                _, state = advance(chunk, lengths - begin, state)
        position = start

        is_in_group = (asked >= first) & (asked <= last)
        used = columns[is_in_group.any(dim=0)].tolist()
        left, right = used[0], used[-1] + 1
        column_of = torch.where(is_in_group, columns + (width - left), column_of)
        width += right - left
        at = asked[:, left:right].clamp(first, last).to(query.device) - start
        segment = inputs[:, start : last + 1], lengths - start, state, at
        if len(groups) == 1:
            parts.append(_answers(advance, weight, *segment))
        else:
            # A reentrant checkpoint has a gradient only if an argument requires one: `weight` does.
            # The other kind of checkpoint does not free the arrays of a compiled kernel.
            parts.append(checkpoint(_answers, advance, weight, *segment, use_reentrant=True))
    if len(parts) == 1:
        return parts[0]
    return at_queries(torch.cat(parts, dim=1), column_of.to(query.device))


def group_steps(asked: list[int], span: int) -> list[tuple[int, int]]:
    """The first and the last step of each group of `asked`, a list of different steps in order.

    The steps of a group lie within `span` steps.
    """
    groups = list[tuple[int, int]]()
    for step in asked:
        if groups and step - groups[-1][0] < span:
            groups[-1] = groups[-1][0], step
        else:
            groups.append((step, step))
    return groups


def _answers(
    advance: Advance, weight: Tensor, inputs: Tensor, lengths: Tensor, state: Any, query: Tensor
) -> Tensor:
    outputs, _ = advance(inputs, lengths, state)
    return at_queries(outputs, query)
