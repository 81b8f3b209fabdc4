"""Images read as sequences, row by row or pixel by pixel (Le, Jaitly and Hinton 2015, section 4.2).

x_t is one row of the image (`rows`: T = height, F = width) or one pixel of it, in reading order
(`pixels`: T = height × width, F = 1), scaled to [0, 1]; the class is asked for at the last step.
"""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int, UInt8

from lookback.data.batch import SequenceDataset
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.errors import UserError, nearest

Images = UInt8[np.ndarray, "image height width"]
Labels = Int[np.ndarray, " image"]


class ImageTask(Task):
    """Which class is the image of? A subclass says where the images come from."""

    classes: ClassVar[int]
    brightest: ClassVar[int]  # the grey value that becomes 1
    height: ClassVar[int]
    width: ClassVar[int]

    def __init__(self, order: str):
        shapes = {"rows": (self.height, self.width), "pixels": (self.height * self.width, 1)}
        if order not in shapes:
            near = nearest(order, shapes) or "rows"
            raise UserError(
                f"images are read by rows or by pixels, not by '{order}': order: {near}."
            )
        self.length, self.features = shapes[order]

    @abstractmethod
    def images(self, split: Split) -> tuple[Images, Labels]:
        """The images of a split, with the class of each."""

    def dataset(self, split: Split) -> SequenceDataset:
        """One split; inputs (N, T, F) in [0, 1]."""
        images, labels = self.images(split)
        flat = torch.from_numpy(images.reshape(len(images), self.length, self.features))
        return SequenceDataset(
            inputs=flat.float() / self.brightest,
            lengths=torch.full((len(images),), self.length),
            query=torch.full((len(images), 1), self.length - 1),
            target=torch.from_numpy(labels).unsqueeze(1),
        )

    def facts(self) -> Facts:
        """What the images are; the scale is the format's own, so nothing is fitted."""
        labels = {split: self.images(split)[1] for split in SPLITS}
        most_frequent = np.bincount(labels["train"], minlength=self.classes).argmax()
        return Facts(
            kind="class",
            tokens=False,
            features=self.features,
            length=self.length,
            outputs=self.classes,
            metric="accuracy",
            baseline=float((labels["test"] == most_frequent).mean()),
            baseline_name="most frequent class",
            sizes={split: len(labels[split]) for split in SPLITS},
            mean=(0.0,) * self.features,
            scale=(float(self.brightest),) * self.features,
        )
