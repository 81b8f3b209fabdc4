"""Batches and datasets: each sequence has T steps, F features per step and Q queries."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookback.errors import UserError


@dataclass(frozen=True)
class Batch:
    """Sequences with their queries and targets.

    A sequence with fewer than T steps is padded at its end.
    """

    inputs: Float[Tensor, "batch time feature"] | Int[Tensor, "batch time"]
    lengths: Int[Tensor, " batch"]
    query: Int[Tensor, "batch query"]  # step of each query, or −1 if the query is padding
    target: Int[Tensor, "batch query"] | Float[Tensor, "batch query value"]
    evidence: Bool[Tensor, "batch query time"] | None = None  # steps that decide the answer
    # The lag is the number of steps from the first evidence step to the query.
    # The lag of a padding query is −1.
    lag: Int[Tensor, "batch query"] | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """A copy of the batch on `device`."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return replace(self, **moved)

    def asked_last(self) -> "Batch":
        """A copy of the batch with only the last query of each sequence (Q = 1)."""
        rows, last = torch.arange(len(self.query), device=self.query.device), self.query.argmax(1)
        chosen = {
            name: value[rows, last].unsqueeze(1)
            for name in ("query", "target", "evidence", "lag")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **chosen)


@dataclass(frozen=True)
class SequenceDataset:
    """All N sequences of a split.

    Each field except `evidence` is one tensor for all sequences, so that one indexing operation per
    field selects the sequences of a batch.
    """

    inputs: Float[Tensor, "batch time feature"] | Int[Tensor, "batch time"]
    lengths: Int[Tensor, " batch"]
    query: Int[Tensor, "batch query"]
    target: Int[Tensor, "batch query"] | Float[Tensor, "batch query value"]
    lag: Int[Tensor, "batch query"] | None = None
    # `evidence` is a function that computes the evidence from the inputs of a batch.
    # A stored evidence tensor of Q × T booleans per sequence would need too much memory.
    evidence: Callable[[Tensor], Bool[Tensor, "batch query time"]] | None = None

    def __post_init__(self) -> None:
        """Raise UserError if the length of a sequence is below 1 or above the number of steps T.

        Raises UserError, too, if the inputs have no axis of steps.
        """
        if self.inputs.ndim < 2:
            raise UserError(
                f"The inputs of a task's data have the shape {tuple(self.inputs.shape)}. Make it "
                "(sequences, steps, features), or (sequences, steps) for token ids."
            )
        steps = self.inputs.shape[1]
        is_invalid = (self.lengths < 1) | (self.lengths > steps)
        if is_invalid.any():
            row = int(is_invalid.nonzero()[0])
            raise UserError(
                f"Sequence {row} of a task's data has the length {int(self.lengths[row])}. "
                f"Make each length 1 to {steps}, the number of steps in the inputs."
            )

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, index: Int[Tensor, " batch"] | slice, *, evidence: bool = False) -> Batch:
        """A batch of the sequences at `index`, which holds sequence numbers or is a slice.

        If `evidence` is true and the task defines evidence, the batch contains the evidence.
        """
        inputs = self.inputs[index]
        return Batch(
            inputs=inputs,
            lengths=self.lengths[index],
            query=self.query[index],
            target=self.target[index],
            lag=None if self.lag is None else self.lag[index],
            evidence=self.evidence(inputs) if evidence and self.evidence else None,
        )

    def to(self, device: torch.device | str) -> "SequenceDataset":
        """A copy of the data on `device`."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)
