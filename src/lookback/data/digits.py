"""Digits: 1,797 handwritten digits of 8 × 8 pixels with 17 grey values (Alpaydin and Kaynak 1998).

The test part of «Optical recognition of handwritten digits» (UCI), which scikit-learn ships.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from lookback.data.downloaded import downloaded
from lookback.data.images import Images, ImageTask, Labels
from lookback.data.task import Split
from lookback.errors import UserError


class Digits(ImageTask):
    """Which digit is it? Every split holds the classes in the same proportions."""

    classes, brightest, height, width = 10, 16, 8, 8

    def __init__(
        self, dataset: Mapping[str, Any], order: str, validation: int, test: int, seed: int
    ):
        super().__init__(order)
        self.name = dataset["name"]
        self.sizes = {"validation": validation, "test": test}
        self.seed = seed

    def images(self, split: Split) -> tuple[Images, Labels]:
        """Images (N, 8, 8) with values 0 to 16, and their digits."""
        index = self._index[split]
        return self._images[index], self._labels[index]

    @cached_property
    def _table(self) -> Int[np.ndarray, "image column"]:
        """One image a row: 64 pixels in reading order, then the digit."""
        return np.loadtxt(downloaded(self.name, "digits.csv"), delimiter=",", dtype=np.int64)

    @property
    def _images(self) -> Images:
        return self._table[:, :-1].astype(np.uint8).reshape(-1, self.height, self.width)

    @property
    def _labels(self) -> Labels:
        return self._table[:, -1]

    @cached_property
    def _index(self) -> Mapping[Split, Int[np.ndarray, " image"]]:
        """Where the images of a split lie in the table."""
        ends = np.cumsum([self.sizes["test"], self.sizes["validation"]])
        if min(self.sizes.values()) < 0 or ends[-1] >= len(self._table):
            raise UserError(
                f"digits has {len(self._table):,} images: validation {self.sizes['validation']:,} "
                f"and test {self.sizes['test']:,} leave none to train on. Make them smaller."
            )
        order = stratified_order(self._labels, np.random.default_rng(self.seed))
        test, validation, train = np.split(order, ends)
        return {"train": train, "validation": validation, "test": test}


def stratified_order(labels: Labels, generator: np.random.Generator) -> Int[np.ndarray, " image"]:
    """A random order in which every stretch holds the classes in their proportions.

    Member k of a class of n stands at (k + ½) / n of the way, so a class is spread evenly.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(place, kind="stable")  # so that ties fall alike on every CPU
