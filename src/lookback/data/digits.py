"""Digits: 1,797 handwritten digits of 8 × 8 pixels with 17 grey values [alpaydin1998].

The images are the test set of «Optical recognition of handwritten digits» from the UCI repository.
The Python package scikit-learn contains the file of the images.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from lookback.data.downloaded import downloaded
from lookback.data.images import Images, ImageTask, Labels
from lookback.data.splits import require_train, stratified_split
from lookback.data.task import Split


class Digits(ImageTask):
    """A task whose target is the digit that the image shows.

    Every split contains the ten digits in the same proportions.
    """

    classes, brightest, height, width = 10, 16, 8, 8

    def __init__(
        self, dataset: Mapping[str, Any], order: str, validation: int, test: int, seed: int
    ):
        super().__init__(order)
        self.name = dataset["name"]
        self.held_out: dict[Split, int] = {"validation": validation, "test": test}
        self.seed = seed

    def images(self, split: Split) -> tuple[Images, Labels]:
        """The images of a split (N, 8, 8) with grey values 0 to 16, and the digit of each image."""
        index = self._split_index[split]
        return self._images[index], self._labels[index]

    @cached_property
    def _table(self) -> Int[np.ndarray, "image column"]:
        """One image per row: 64 pixels from left to right and top to bottom, then the digit."""
        return np.loadtxt(downloaded(self.name, "digits.csv"), delimiter=",", dtype=np.int64)

    @property
    def _images(self) -> Images:
        return self._table[:, :-1].astype(np.uint8).reshape(-1, self.height, self.width)

    @property
    def _labels(self) -> Labels:
        return self._table[:, -1]

    @cached_property
    def _split_index(self) -> Mapping[Split, Labels]:
        """The table rows of each split."""
        require_train(self.name, len(self._table), self.held_out)
        generator = np.random.default_rng(self.seed)
        return stratified_split(self._labels, **self.held_out, generator=generator)
