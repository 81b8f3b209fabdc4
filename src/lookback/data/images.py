"""Image tasks: a model reads an image row by row or pixel by pixel [le2015], section 4.2.

With the order `rows`, each step is one image row (T = height steps, F = width features). With the
order `pixels`, each step is one pixel, from left to right and top to bottom (T = height × width
steps, F = 1 feature). Grey values are scaled to [0, 1]. The query at the last step asks for the
class of the image.
"""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int, UInt8

from lookback.data.baselines import baseline_facts, most_frequent_class
from lookback.data.batch import SequenceDataset
from lookback.data.scaling import unit_range
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.errors import UserError, nearest

Images = UInt8[np.ndarray, "image height width"]
Labels = Int[np.ndarray, " image"]


class ImageTask(Task):
    """A task to classify images. Each subclass of ImageTask loads the images of its splits."""

    classes: ClassVar[int]
    brightest: ClassVar[int]  # largest raw grey value, which is scaled to 1
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
        """The images of a split and the class of each image."""

    def dataset(self, split: Split) -> SequenceDataset:
        """The sequences of a split, with inputs (N, T, F) in [0, 1]."""
        images, labels = self.images(split)
        raw = torch.from_numpy(images.reshape(len(images), self.length, self.features))
        return SequenceDataset(
            inputs=self.scaling.apply(raw),
            lengths=torch.full((len(images),), self.length),
            query=torch.full((len(images), 1), self.length - 1),
            target=torch.from_numpy(labels).unsqueeze(1),
        )

    def facts(self) -> Facts:
        """The shapes, split sizes, scaling and trivial baseline of the task.

        The scaling depends on the largest grey value of the file format, not on the images.
        """
        labels = {split: torch.from_numpy(self.images(split)[1]) for split in SPLITS}
        constant = most_frequent_class(labels["train"], labels["test"])
        return Facts(
            kind="class",
            tokens=False,
            features=self.features,
            length=self.length,
            outputs=self.classes,
            **baseline_facts(constant, []),
            sizes={split: len(labels[split]) for split in SPLITS},
            mean=self.scaling.mean,
            scale=self.scaling.scale,
        )
