"""Tasks made by a generator: the same sequences for a seed on every machine, no two of them equal.

Each split is drawn from random numbers of its own. A sequence that was drawn before, in its split
or in one before it, is drawn anew. Test comes first: it is the same whatever is trained on.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.errors import UserError

ORDER: tuple[Split, ...] = ("test", "validation", "train")
ROUNDS = 50  # of drawing what is missing, before the space of sequences counts as too small


class GeneratedTask(Task):
    """A subclass says how sequences are drawn, and what a step and an answer are."""

    kind: ClassVar[Literal["class", "value"]] = "class"
    features: int  # of a step; where steps are tokens, how many there are
    outputs: int  # classes, or values an answer

    def __init__(self, length: int, train: int, validation: int, test: int, seed: int):
        self.length = length
        self.sizes: dict[Split, int] = {"train": train, "validation": validation, "test": test}
        self.seed = seed
        for split, size in self.sizes.items():
            least = 0 if split == "validation" else 1
            if size < least:
                raise UserError(f"{split}: {size} sequences; make it {least} or more.")

    @abstractmethod
    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """`count` sequences."""

    def dataset(self, split: Split) -> SequenceDataset:
        """One split.

        Raises UserError where there are not as many different sequences as the splits ask for.
        """
        seeds = dict(zip(SPLITS, np.random.SeedSequence(self.seed).spawn(len(SPLITS)), strict=True))
        seen: set[bytes] = set()
        for before in ORDER[: ORDER.index(split)]:
            self._unseen(before, np.random.default_rng(seeds[before]), seen)
        return self._unseen(split, np.random.default_rng(seeds[split]), seen)

    def facts(self) -> Facts:
        """Shapes, the trivial answer fitted on train, and the best possible one, which is right."""
        train, test = self.dataset("train"), self.dataset("test")
        is_class = self.kind == "class"
        return Facts(
            kind=self.kind,
            tokens=not test.inputs.is_floating_point(),
            features=self.features,
            length=self.length,
            outputs=self.outputs,
            metric="accuracy" if is_class else "mse",
            baseline=_of_most_frequent(train, test) if is_class else _of_mean(train, test),
            baseline_name="most frequent class" if is_class else "mean of the targets",
            sizes={str(split): size for split, size in self.sizes.items()},
            optimum=1.0 if is_class else 0.0,
        )

    def _unseen(
        self, split: Split, generator: np.random.Generator, seen: set[bytes]
    ) -> SequenceDataset:
        """The sequences of a split, none of them in `seen`, to which they are added."""
        count = missing = self.sizes[split]
        parts: list[SequenceDataset] = []
        for _ in range(ROUNDS):
            drawn = self.draw(count, generator)
            new = _new(drawn.inputs, seen, missing)
            parts.append(drawn if len(new) == count else _rows(drawn, new))
            missing -= len(new)
            if not missing:
                return _joined(parts)
        raise UserError(
            f"{type(self).__name__}, length {self.length}: too few different sequences. Of the "
            f"{count:,} of {split}, {missing:,} could not be found. Make `length` or the alphabet "
            "larger, or `train`, `validation` and `test` smaller."
        )


def require_symbols(symbols: int) -> None:
    """Raise UserError for an alphabet too small to ask anything."""
    if symbols < 2:
        raise UserError(f"symbols: {symbols} leave nothing to tell apart; make it 2 or more.")


def distinct(
    generator: np.random.Generator, rows: int, count: int, size: int
) -> Int[np.ndarray, "row count"]:
    """In each row `count` different integers below `size`: every set alike, in no random order.

    Floyd's algorithm (Bentley and Floyd 1987), which needs no table of `size` a row.
    """
    chosen = np.full((rows, count), -1)
    for place, top in enumerate(range(size - count, size)):
        drawn = generator.integers(0, top + 1, rows)
        taken = (chosen[:, :place] == drawn[:, None]).any(axis=1)
        chosen[:, place] = np.where(taken, top, drawn)
    return chosen


def shuffled(
    generator: np.random.Generator, values: Int[np.ndarray, "row count"]
) -> Int[np.ndarray, "row count"]:
    """Each row in a random order of its own."""
    order = np.argsort(generator.random(values.shape), axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1)


def _new(inputs: Tensor, seen: set[bytes], most: int) -> list[int]:
    """The first rows that are not in `seen`, `most` at the most; they are added to it."""
    found: list[int] = []
    for row, sequence in enumerate(inputs.numpy()):
        if len(found) == most:
            break
        mark = hashlib.blake2b(sequence, digest_size=16).digest()
        if mark not in seen:
            seen.add(mark)
            found.append(row)
    return found


def _tensors(data: SequenceDataset) -> dict[str, Any]:
    return {
        field.name: value
        for field in fields(data)
        if isinstance(value := getattr(data, field.name), Tensor)
    }


def _rows(data: SequenceDataset, index: list[int]) -> SequenceDataset:
    return replace(data, **{name: value[index] for name, value in _tensors(data).items()})


def _joined(parts: Sequence[SequenceDataset]) -> SequenceDataset:
    if len(parts) == 1:
        return parts[0]
    joined: dict[str, Any] = {
        name: torch.cat([getattr(part, name) for part in parts]) for name in _tensors(parts[0])
    }
    return replace(parts[0], **joined)


def _asked(data: SequenceDataset) -> Int[Tensor, " answer"] | Float[Tensor, "answer value"]:
    return data.target[data.query >= 0]


def _of_most_frequent(train: SequenceDataset, test: SequenceDataset) -> float:
    return (_asked(test) == _asked(train).bincount().argmax()).double().mean().item()


def _of_mean(train: SequenceDataset, test: SequenceDataset) -> float:
    mean = _asked(train).double().mean(dim=0)
    return (_asked(test).double() - mean).square().mean().item()
