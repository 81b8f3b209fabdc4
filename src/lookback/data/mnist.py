"""MNIST: 70,000 handwritten digits of 28 × 28 pixels [lecun1998].

The files have the IDX format. An IDX file starts with the bytes 0 and 0, a type code (8 for
unsigned bytes) and the number of dimensions. The number of dimensions is followed by the size of
each dimension as a big-endian 32-bit integer. The rest of an IDX file holds the values of the array
in C order (last index fastest).
"""

import math
import struct
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from lookback.data.downloaded import downloaded
from lookback.data.images import Images, ImageTask, Labels
from lookback.data.splits import random_split, require_train
from lookback.data.task import Split
from lookback.errors import UserError


class Mnist(ImageTask):
    """A task whose target is the digit that the image shows.

    The test split is the published test set of MNIST. The train and validation splits are disjoint
    parts of the published training set. The argument `permutation` is None or the seed of a random
    pixel order, which is the same for all images [le2015], section 4.2.
    """

    classes, brightest, height, width = 10, 255, 28, 28

    def __init__(
        self,
        dataset: Mapping[str, Any],
        order: str,
        validation: int,
        seed: int,
        permutation: int | None,
    ):
        super().__init__(order)
        self.permutation = permutation
        self.name = dataset["name"]
        self.validation = validation
        self.seed = seed

    def images(self, split: Split) -> tuple[Images, Labels]:
        """Images of a split (N, 28, 28) with grey values 0 to 255, and the digit of each image."""
        if split == "test":
            return self._test
        images, labels = self._training
        require_train(
            f"the training set of {self.name}", len(labels), {"validation": self.validation}
        )
        generator = np.random.default_rng(self.seed)
        index = random_split(len(labels), self.validation, generator)[split]
        return images[index], labels[index]

    @cached_property
    def _training(self) -> tuple[Images, Labels]:
        return self._read("train")

    @cached_property
    def _test(self) -> tuple[Images, Labels]:
        return self._read("t10k")

    def _read(self, part: str) -> tuple[Images, Labels]:
        images = read_idx(downloaded(self.name, f"{part}-images-idx3-ubyte"))
        if self.permutation is not None:
            order = np.random.default_rng(self.permutation).permutation(self.height * self.width)
            images = images.reshape(len(images), -1)[:, order].reshape(images.shape)
        labels = read_idx(downloaded(self.name, f"{part}-labels-idx1-ubyte"))
        return images, labels.astype(np.int64)


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Read the array from an IDX file of unsigned bytes.

    Raises UserError if the file is incomplete or is not an IDX file of unsigned bytes.
    """
    content = path.read_bytes()
    dimensions = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    start = 4 + 4 * dimensions
    shape = struct.unpack_from(f">{dimensions}I", content, 4) if len(content) >= start else ()
    if not shape or len(content) != start + math.prod(shape):
        raise UserError(
            f"{path} is not a complete IDX file of unsigned bytes. Remove it and download it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
