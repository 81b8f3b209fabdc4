"""What a model sees and is asked: B sequences, T steps, F features, Q queries."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookback.errors import UserError


@dataclass(frozen=True)
class Batch:
    """Sequences side by side, padded at their end; a task that asks once has Q = 1."""

    inputs: Float[Tensor, "batch time feature"] | Int[Tensor, "batch time"]
    lengths: Int[Tensor, " batch"]
    query: Int[Tensor, "batch query"]  # the answering step, -1 where there is none
    target: Int[Tensor, "batch query"] | Float[Tensor, "batch query value"]
    evidence: Bool[Tensor, "batch query time"] | None = None  # the steps that decide an answer
    lag: Int[Tensor, "batch query"] | None = None  # from the first evidence to the query, -1: none

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on `device`."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return replace(self, **moved)

    def asked_last(self) -> "Batch":
        """The same sequences asked once each (Q = 1): at the last of their queries."""
        rows, last = torch.arange(len(self.query), device=self.query.device), self.query.argmax(1)
        chosen = {
            name: value[rows, last].unsqueeze(1)
            for name in ("query", "target", "evidence", "lag")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **chosen)


@dataclass(frozen=True)
class SequenceDataset:
    """All sequences of one split as whole tensors, N in the place of B: a batch is one indexing."""

    inputs: Float[Tensor, "batch time feature"] | Int[Tensor, "batch time"]
    lengths: Int[Tensor, " batch"]
    query: Int[Tensor, "batch query"]
    target: Int[Tensor, "batch query"] | Float[Tensor, "batch query value"]
    lag: Int[Tensor, "batch query"] | None = None
    # Evidence costs Q × T a sequence: made when asked for, from the batch's inputs.
    evidence: Callable[[Tensor], Bool[Tensor, "batch query time"]] | None = None

    def __post_init__(self) -> None:
        """Raise UserError where a length is below 1, or above the T steps that there are."""
        steps = self.inputs.shape[1]
        wrong = (self.lengths < 1) | (self.lengths > steps)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise UserError(
                f"Sequence {row} of a task's data has the length {int(self.lengths[row])}. "
                f"Make each length 1 to {steps}, as many steps as the inputs have."
            )

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, index: Int[Tensor, " batch"] | slice, *, evidence: bool = False) -> Batch:
        """The sequences at `index`, with their evidence where asked for and known."""
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
        """The same data on `device`."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)
