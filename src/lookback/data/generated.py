"""Generated tasks: a seed draws the same sequences on every machine, and no two are equal.

Each split of a task has a separate random generator. The task rejects a sequence that equals an
earlier sequence, and draws a new sequence instead. The test split is drawn first, so that the sizes
of the train and validation splits do not change the test sequences.

With the setting `seed: per_run`, each run of a study draws its own train and validation splits from
the seed of the run, and the spread of the scores over seeds includes the draw of the data. The test
split is that of `seed: 0` for all runs, so all runs answer the same test sequences, and their
scores can be compared in pairs.
"""

import copy
import weakref
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lookback.data.baselines import (
    Baseline,
    asked_targets,
    baseline_facts,
    mean_of_targets,
    most_frequent_class,
)
from lookback.data.batch import SequenceDataset
from lookback.data.splits import split_generators, unseen_rows
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.errors import UserError

ORDER: tuple[Split, ...] = (
    "test",
    "validation",
    "train",
)  # order in which the splits of a task are drawn
PER_RUN = "per_run"  # the value of `seed` with which each run draws its own train sequences
ROUNDS = 50  # maximum number of attempts to draw the missing sequences of a split


class GeneratedTask(Task):
    """A task whose sequences are drawn at random from a seed.

    Each subclass of GeneratedTask defines `draw`, `kind`, `features` and `outputs`.
    """

    kind: ClassVar[Literal["class", "value"]] = "class"
    features: int  # number of features per step, or size of the vocabulary if inputs are tokens
    outputs: int  # number of classes, or number of real values per answer

    def __init__(self, length: int, train: int, validation: int, test: int, seed: int | str):
        self.length = length
        self.sizes: dict[Split, int] = {"train": train, "validation": validation, "test": test}
        if seed != PER_RUN and not isinstance(seed, int):
            raise UserError(f"seed: {seed}; make it a whole number, or `{PER_RUN}`.")
        self.drawn_per_run = ("train", "validation") if seed == PER_RUN else ()
        self.seeds = dict.fromkeys(SPLITS, 0 if seed == PER_RUN else int(seed))
        # A split that is in use is not drawn again, and neither are the hashes of its sequences.
        self._in_use: weakref.WeakValueDictionary[Split, SequenceDataset]
        self._in_use = weakref.WeakValueDictionary()
        self._hashes: dict[Split, set[bytes]] = {}
        for split, size in self.sizes.items():
            smallest = 0 if split == "validation" else 1
            if size < smallest:
                raise UserError(f"{split}: {size} sequences; make it {smallest} or more.")

    @abstractmethod
    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw `count` sequences; two of them may be equal."""

    def shortcuts(self, train: SequenceDataset, test: SequenceDataset) -> list[Baseline]:
        """The baselines of the task beside the constant answer (data/baselines.py).

        They are fitted on `train` and scored on `test`. Most tasks have one or none.
        """
        return []

    def of_run(self, seed: int) -> "GeneratedTask":
        """The task whose splits `drawn_per_run` are drawn from `seed`, and the others as here."""
        if not self.drawn_per_run:
            return self
        task = copy.copy(self)
        task.seeds = {**self.seeds, **dict.fromkeys(self.drawn_per_run, seed)}
        task._in_use, task._hashes = weakref.WeakValueDictionary(), {}
        for shared in set(SPLITS) - set(self.drawn_per_run):
            if shared in self._hashes:
                task._hashes[shared] = self._hashes[shared]
        return task

    def dataset(self, split: Split) -> SequenceDataset:
        """The sequences of a split.

        Raises UserError if the task's settings allow fewer different sequences than the splits
        need.
        """
        data = self._in_use.get(split)
        if data is None:
            seen: set[bytes] = set()
            for earlier_split in ORDER[: ORDER.index(split)]:
                if earlier_split not in self._hashes:
                    self.dataset(earlier_split)
                seen |= self._hashes[earlier_split]
            generator = split_generators(self.seeds[split])[split]
            data = self._in_use[split] = self._draw_unseen(split, generator, seen)
            if split != "train":  # no split is drawn after train
                self._hashes[split] = seen
        return data

    def facts(self) -> Facts:
        """The shapes, split sizes, baselines and optimum of the task.

        The optimum is the best possible score, accuracy 1 or mean squared error 0.
        """
        train, test = self.dataset("train"), self.dataset("test")
        is_class = self.kind == "class"
        fit_constant = most_frequent_class if is_class else mean_of_targets
        constant = fit_constant(asked_targets(train), asked_targets(test))
        return Facts(
            kind=self.kind,
            tokens=not test.inputs.is_floating_point(),
            features=self.features,
            length=self.length,
            outputs=self.outputs,
            **baseline_facts(constant, self.shortcuts(train, test)),
            sizes={str(split): size for split, size in self.sizes.items()},
            optimum=1.0 if is_class else 0.0,
        )

    def _draw_unseen(
        self, split: Split, generator: np.random.Generator, seen: set[bytes]
    ) -> SequenceDataset:
        """Draw sequences whose hashes are not in `seen`, and add the new hashes to `seen`."""
        count = missing = self.sizes[split]
        parts: list[SequenceDataset] = []
        for _ in range(ROUNDS):
            drawn = self.draw(count, generator)
            rows = unseen_rows(drawn.inputs, seen, missing)
            parts.append(drawn if len(rows) == count else _select(drawn, rows))
            missing -= len(rows)
            if not missing:
                return _concatenate(parts)
        raise UserError(
            f"{type(self).__name__}, length {self.length}: too few different sequences. Of the "
            f"{count:,} of {split}, {missing:,} could not be drawn. Make `length` or the alphabet "
            "larger, or `train`, `validation` and `test` smaller."
        )


def require_symbols(symbols: int) -> None:
    """Raise UserError if a task's alphabet has fewer than two symbols."""
    if symbols < 2:
        raise UserError(f"symbols: {symbols} cannot be told apart; make it 2 or more.")


def distinct(
    generator: np.random.Generator, rows: int, count: int, size: int
) -> Int[np.ndarray, "row count"]:
    """Draw `count` different integers from 0 … `size` − 1 for each of `rows` rows.

    All sets of `count` integers have the same probability, but the order of the integers in a row
    is not uniformly random. The function uses Floyd's algorithm [bentley1987], which needs no table
    of `size` entries per row.
    """
    chosen = np.full((rows, count), -1)
    for column, top in enumerate(range(size - count, size)):
        drawn = generator.integers(0, top + 1, rows)
        is_taken = (chosen[:, :column] == drawn[:, None]).any(axis=1)
        chosen[:, column] = np.where(is_taken, top, drawn)
    return chosen


def shuffled(
    generator: np.random.Generator, values: Int[np.ndarray, "row count"]
) -> Int[np.ndarray, "row count"]:
    """Shuffle the values within each row, independently of the other rows."""
    order = np.argsort(generator.random(values.shape), axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1)


def _tensors(data: SequenceDataset) -> dict[str, Any]:
    return {
        field.name: value
        for field in fields(data)
        if isinstance(value := getattr(data, field.name), Tensor)
    }


def _select(data: SequenceDataset, rows: list[int]) -> SequenceDataset:
    return replace(data, **{name: tensor[rows] for name, tensor in _tensors(data).items()})


def _concatenate(parts: Sequence[SequenceDataset]) -> SequenceDataset:
    if len(parts) == 1:
        return parts[0]
    tensors: dict[str, Any] = {
        name: torch.cat([getattr(part, name) for part in parts]) for name in _tensors(parts[0])
    }
    return replace(parts[0], **tensors)
