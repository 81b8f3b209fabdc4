"""Image tasks: a model reads an image row by row or pixel by pixel [le2015], section 4.2.

The order `rows` feeds one image row per step: T = height, F = width. The order `pixels` feeds one
pixel per step from left to right and top to bottom: T = height × width, F = 1. Grey values are
scaled to [0, 1]. The query at the last step asks for the class.
"""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int, UInt8

from lookback.data.baselines import most_frequent_class
from lookback.data.batch import SequenceDataset
from lookback.data.scaling import unit_range
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.errors import UserError, nearest

Images = UInt8[np.ndarray, "image height width"]
Labels = Int[np.ndarray, " image"]


class ImageTask(Task):
    """Classification of images. A subclass loads the images of each split."""

    classes: ClassVar[int]
    brightest: ClassVar[int]  # the raw grey value that is scaled to 1
    height: ClassVar[int]
    width: ClassVar[int]

    def __init__(self, order: str):
        shapes = {"rows": (self.height, self.width), "pixels": (self.height * self.width, 1)}
        if order not in shapes:
            suggestion = nearest(order, shapes) or "rows"
            raise UserError(
                f"order: '{order}' is not an order of reading an image. Use `rows` or `pixels`; "
                f"did you mean '{suggestion}'?"
            )
        self.length, self.features = shapes[order]
        self.scaling = unit_range(self.brightest, self.features)

    @abstractmethod
    def images(self, split: Split) -> tuple[Images, Labels]:
        """The images of a split, and the class of each image."""

    def dataset(self, split: Split) -> SequenceDataset:
        """The sequences of a split; inputs (N, T, F) are in [0, 1]."""
        images, labels = self.images(split)
        raw = torch.from_numpy(images.reshape(len(images), self.length, self.features))
        return SequenceDataset(
            inputs=self.scaling.apply(raw),
            lengths=torch.full((len(images),), self.length),
            query=torch.full((len(images), 1), self.length - 1),
            target=torch.from_numpy(labels).unsqueeze(1),
        )

    def facts(self) -> Facts:
        """Shapes, sizes, scaling and trivial baseline; the file format fixes the scaling."""
        labels = {split: torch.from_numpy(self.images(split)[1]) for split in SPLITS}
        baseline = most_frequent_class(labels["train"], labels["test"])
        return Facts(
            kind="class",
            tokens=False,
            features=self.features,
            length=self.length,
            outputs=self.classes,
            metric=baseline.metric,
            baseline=baseline.score,
            baseline_name=baseline.name,
            sizes={split: len(labels[split]) for split in SPLITS},
            mean=self.scaling.mean,
            scale=self.scaling.scale,
        )
