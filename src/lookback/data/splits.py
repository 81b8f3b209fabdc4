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
    """A random generator for each split; the random numbers of two splits are independent."""
    children = np.random.SeedSequence(seed).spawn(len(SPLITS))
    return {
        split: np.random.default_rng(child) for split, child in zip(SPLITS, children, strict=True)
    }


def unseen_rows(inputs: Tensor, seen: set[bytes], limit: int) -> list[int]:
    """The indices of the first `limit` sequences that are not in `seen`.

    The function adds the hash of each returned sequence to `seen`.
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
    """Split 0 … count − 1 at random into train and validation; `validation` is a size."""
    order = generator.permutation(count)
    return {"train": order[: count - validation], "validation": order[count - validation :]}


def stratified_split(
    labels: Index, validation: int, test: int, generator: np.random.Generator
) -> dict[Split, Index]:
    """Random indices of the three splits; every split has the class proportions of `labels`."""
    parts = np.split(stratified_order(labels, generator), np.cumsum([test, validation]))
    return dict(zip(("test", "validation", "train"), parts, strict=True))


def stratified_order(labels: Index, generator: np.random.Generator) -> Index:
    """A random order in which every contiguous part has the class proportions of `labels`.

    Each class is spread evenly: sequence k of a class of n sequences is sorted by (k + ½) / n.
    """
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(position, kind="stable")  # A stable sort gives the same order on every CPU.


def require_train(name: str, count: int, held_out: Mapping[Split, int]) -> None:
    """Raise UserError if a size in `held_out` is negative or the train split would be empty."""
    if min(held_out.values()) < 0 or sum(held_out.values()) >= count:
        sizes = " and ".join(f"{split}: {size:,}" for split, size in held_out.items())
        raise UserError(
            f"{name} has {count:,} images for train and {sizes}. Make each size 0 or more, and "
            f"their sum {count - 1:,} or less, because train needs at least one image."
        )
