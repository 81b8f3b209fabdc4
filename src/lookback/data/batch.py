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

    def first(self, count: int) -> "Batch":
        """A batch of the first `count` sequences."""
        kept = {
            field.name: value[:count]
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return replace(self, **kept)

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

    Each field except `evidence` and `encode` is one tensor for all sequences, so that one indexing
    operation per field selects the sequences of a batch. Whole numbers may be stored in a narrow
    type, such as int8, and inputs may be stored as codes; `batch` widens and encodes them.
    """

    # Feature vectors, token ids, or what `encode` turns into feature vectors.
    inputs: Float[Tensor, "batch time *feature"] | Int[Tensor, "batch time *feature"]
    lengths: Int[Tensor, " batch"]
    query: Int[Tensor, "batch query"]
    target: Int[Tensor, "batch query"] | Float[Tensor, "batch query value"]
    lag: Int[Tensor, "batch query"] | None = None
    # `evidence` is a function that computes the evidence from the inputs of a batch.
    # A stored evidence tensor of Q × T booleans per sequence would need too much memory.
    evidence: Callable[[Tensor], Bool[Tensor, "batch query time"]] | None = None
    # `encode` turns stored inputs into feature vectors, each step by itself. The one-hot vectors
    # (float32) of a whole split would need up to a hundred times the memory of their codes (int8).
    encode: Callable[[Tensor], Float[Tensor, "batch time feature"]] | None = None

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
        inputs = self._encoded(self.inputs[index])
        return Batch(
            inputs=inputs,
            lengths=self.lengths[index],
            query=_wide(self.query[index]),
            target=_wide(self.target[index]),
            lag=None if self.lag is None else _wide(self.lag[index]),
            evidence=self.evidence(inputs) if evidence and self.evidence else None,
        )

    def inputs_at(
        self, rows: Int[Tensor, " batch"], steps: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch feature"] | Int[Tensor, " batch"]:
        """The input of one step of each of the sequences `rows`."""
        return self._encoded(self.inputs[rows, steps].unsqueeze(1))[:, 0]

    @property
    def holds_tokens(self) -> bool:
        """Whether the inputs of a batch are token ids instead of feature vectors."""
        return self.encode is None and not self.inputs.is_floating_point()

    def _encoded(self, stored: Tensor) -> Tensor:
        return self.encode(stored) if self.encode else _wide(stored)

    def train_batch(self, step: int, index: Int[Tensor, " batch"]) -> Batch:
        """The batch of a training step: the sequences at `index`, whatever the step."""
        return self.batch(index)

    @property
    def device(self) -> torch.device:
        """The device of all tensors."""
        return self.inputs.device

    def to(self, device: torch.device | str) -> "SequenceDataset":
        """A copy of the data on `device`."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)


def _wide(values: Tensor) -> Tensor:
    """Whole numbers as int64, which torch needs for indices and classes; real values unchanged."""
    return values if values.is_floating_point() else values.long()
