"""Splits: disjoint train, validation and test sequences, the same for a seed on every machine."""

import hashlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int
from torch import Tensor

from lookback.data.task import SPLITS, Split
from lookback.errors import UserError

Index = Int[np.ndarray, " _"]


def split_generators(seed: int) -> dict[Split, np.random.Generator]:
    """One random generator for each split. The generators are statistically independent."""
    children = np.random.SeedSequence(seed).spawn(len(SPLITS))
    return {
        split: np.random.default_rng(child) for split, child in zip(SPLITS, children, strict=True)
    }


def unseen_rows(inputs: Tensor, seen: set[bytes], limit: int) -> list[int]:
    """The indices of the first `limit` sequences whose hashes are not in `seen`.

    The function also adds the hash of each returned sequence to `seen`.
    """
    rows: list[int] = []
    for row, sequence in enumerate(inputs.numpy()):
        if len(rows) == limit:
            break
        sequence_hash = hashlib.blake2b(sequence, digest_size=16).digest()
        if sequence_hash not in seen:
            seen.add(sequence_hash)
            rows.append(row)
    return rows


def random_split(count: int, validation: int, generator: np.random.Generator) -> dict[Split, Index]:
    """Split the indices 0 … count − 1 at random into train and validation.

    The argument `validation` is the number of indices in the validation split.
    """
    order = generator.permutation(count)
    return {"train": order[: count - validation], "validation": order[count - validation :]}


def stratified_split(
    labels: Index, validation: int, test: int, generator: np.random.Generator
) -> dict[Split, Index]:
    """Random indices of the three splits, with the class proportions of `labels` in every split."""
    parts = np.split(stratified_order(labels, generator), np.cumsum([test, validation]))
    return dict(zip(("test", "validation", "train"), parts, strict=True))


def stratified_order(labels: Index, generator: np.random.Generator) -> Index:
    """A random order in which every contiguous part has the class proportions of all `labels`.

    Sequence k of a class of n sequences gets the sort key (k + ½) / n, and sorting by this key
    spreads each class evenly over the order.
    """
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    # A stable sort keeps the order of equal sort keys, so the result is the same on every CPU.
    return np.argsort(position, kind="stable")


def require_train(name: str, count: int, held_out: Mapping[Split, int]) -> None:
    """Raise UserError if a size in `held_out` is negative or if no image is left for training."""
    if min(held_out.values()) < 0 or sum(held_out.values()) >= count:
        sizes = " and ".join(f"{split}: {size:,}" for split, size in held_out.items())
        raise UserError(
            f"{name} has {count:,} images for train and {sizes}. Make each size 0 or more, and "
            f"their sum {count - 1:,} or less, because train needs at least one image."
        )
