"""Generated tasks: a seed draws the same sequences on every machine, and no two are equal.

Each split of a task has a separate random generator. The task rejects a sequence that equals an
earlier sequence, and draws a new sequence instead. The test split is drawn first, so that the sizes
of the train and validation splits do not change the test sequences.

With the setting `seed: per_run`, each run of a study draws its own train and validation splits from
the seed of the run, and the spread of the scores over seeds includes the draw of the data. The test
split is that of `seed: 0` for all runs, so all runs answer the same test sequences, and their
scores can be compared in pairs.

With the setting `fresh: true`, each training step draws new sequences, as for the adding problem of
[hochreiter1997] and the copying task of [arjovsky2016] (data/fresh.py). The train split then is a
sample for the baselines and explainers, and `train` is the number of sequences in an epoch.
"""

import copy
import weakref
from abc import abstractmethod
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
STEPS_AT_ONCE = 2**22  # maximum number of time steps that are drawn at once
ROUNDS = 50  # maximum number of attempts to draw the missing sequences of a split


class GeneratedTask(Task):
    """A task whose sequences are drawn at random from a seed.

    Each subclass of GeneratedTask defines `draw`, `kind`, `features` and `outputs`.
    """

    kind: ClassVar[Literal["class", "value"]] = "class"
    features: int  # number of features per step, or size of the vocabulary if inputs are tokens
    outputs: int  # number of classes, or number of real values per answer
    threshold: ClassVar[float] = Facts.threshold  # as in Facts

    def __init__(
        self,
        length: int,
        train: int,
        validation: int,
        test: int,
        seed: int | str,
        fresh: bool = False,
    ):
        self.length = length
        self.sizes: dict[Split, int] = {"train": train, "validation": validation, "test": test}
        if seed != PER_RUN and not isinstance(seed, int):
            raise UserError(f"seed: {seed}; make it a whole number, or `{PER_RUN}`.")
        self.fresh = fresh
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
        return self._drawn(split)

    def _drawn(self, split: Split) -> SequenceDataset:
        """The sequences of a split, drawn if no other part of the process uses the split."""
        data = self._in_use.get(split)
        if data is None:
            seen: set[bytes] = set()
            for earlier_split in ORDER[: ORDER.index(split)]:
                if earlier_split not in self._hashes:
                    self._drawn(earlier_split)
                seen |= self._hashes[earlier_split]
            generator = split_generators(self.seeds[split])[split]
            data = self._draw_unseen(self.sizes[split], generator, seen)
            self._in_use[split] = data
            if split != "train":  # no split is drawn after train
                self._hashes[split] = seen
        return data

    def fresh_sequences(self, step: int, count: int) -> SequenceDataset:
        """New train sequences for one training step, none of which is in another split.

        They depend only on the seed of the train split and on the number of the step. Raises
        UserError if the task's settings allow too few different sequences.
        """
        if "validation" not in self._hashes:
            self._drawn("validation")
        key = (len(SPLITS), step)  # the generators of the splits have the keys (0,), (1,) and (2,)
        sequence = np.random.SeedSequence(self.seeds["train"], spawn_key=key)
        generator = np.random.default_rng(sequence)
        return self._draw_unseen(count, generator, set(self._hashes["validation"]))

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
            tokens=test.holds_tokens,
            features=self.features,
            length=self.length,
            outputs=self.outputs,
            **baseline_facts(constant, self.shortcuts(train, test)),
            sizes={str(split): size for split, size in self.sizes.items()},
            optimum=1.0 if is_class else 0.0,
            threshold=self.threshold,
        )

    def _draw_unseen(
        self, count: int, generator: np.random.Generator, seen: set[bytes]
    ) -> SequenceDataset:
        """Draw `count` different sequences with hashes not in `seen`, and add the hashes to it.

        At most `STEPS_AT_ONCE` steps are drawn at a time, because a draw needs many times the
        memory of what is stored.
        """
        stored, filled = None, 0
        size = max(1, min(count, STEPS_AT_ONCE // self.length))
        for _ in range(ROUNDS * -(-max(1, count) // size)):
            drawn = self._narrow(self.draw(min(size, count), generator))
            rows = unseen_rows(drawn.inputs, seen, count - filled)
            if stored is None:
                stored = _with_room_for(drawn, count)
            for name, tensor in _tensors(stored).items():
                tensor[filled : filled + len(rows)] = getattr(drawn, name)[rows]
            filled += len(rows)
            if filled == count:
                return stored
        raise UserError(
            f"{type(self).__name__}, length {self.length}: too few different sequences. Of the "
            f"{count:,} that are needed, {count - filled:,} could not be drawn. Make `length` or "
            "the alphabet larger, or `train`, `validation` and `test` smaller."
        )

    def _narrow(self, data: SequenceDataset) -> SequenceDataset:
        """The data with token ids, classes and steps in the narrowest integer types."""
        bounds = {"query": self.length, "lag": self.length, "target": self.outputs}
        if data.holds_tokens:
            bounds["inputs"] = self.features
        tensors: dict[str, Any] = {
            name: narrow(tensor, bounds[name])
            for name, tensor in _tensors(data).items()
            if name in bounds and not tensor.is_floating_point()
        }
        return replace(data, **tensors)


def narrow(values: Int[Tensor, "..."], bound: int) -> Int[Tensor, "..."]:
    """Whole numbers from −1 to `bound` − 1, in the narrowest integer type that holds them all.

    Raises UserError if a number is not in this range.
    """
    if values.numel() and not -1 <= values.min() <= values.max() < bound:
        raise UserError(
            f"The task drew the numbers {values.min()} to {values.max()} where it promises 0 to "
            f"{bound - 1}. Correct its `draw`, `length`, `features` or `outputs`."
        )
    types = (torch.int8, torch.int16, torch.int32, torch.int64)
    return values.to(next(kind for kind in types if bound - 1 <= torch.iinfo(kind).max))


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


def _with_room_for(data: SequenceDataset, count: int) -> SequenceDataset:
    """A dataset of `count` sequences like those of `data`, whose values are not yet set."""
    # The lengths are 1 until they are set, because a dataset refuses lengths below 1.
    room: dict[str, Any] = {
        name: tensor.new_ones(count, *tensor.shape[1:]) for name, tensor in _tensors(data).items()
    }
    return replace(data, **room)
