"""Noise-padded digits, a task like the noise-padded CIFAR-10 of [chang2019], section 5.3.

Each of the first 8 steps of a sequence shows one row of the image of a digit. Every step after the
image shows noise, x_t ~ N(0, 1) in each feature. The query at the last step asks for the digit. The
8 image rows are the evidence, and the lag is the number of steps from the first image row to the
query.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.digits import Digits
from lookback.data.splits import split_generators
from lookback.data.task import Facts, Split, Task
from lookback.errors import UserError


class PaddedDigits(Task):
    """A task whose target is the digit that the sequence showed before the noise."""

    def __init__(
        self, dataset: Mapping[str, Any], length: int, validation: int, test: int, seed: int
    ):
        if length < Digits.height:
            raise UserError(
                f"length: {length} steps are fewer than the {Digits.height} rows of a digit; make "
                f"it {Digits.height} or more."
            )
        self.digits = Digits(dataset, "rows", validation, test, seed)
        self.length, self.seed = length, seed

    def dataset(self, split: Split) -> SequenceDataset:
        """The sequences of a split.

        The inputs (N, T, 8) are pixels in [0, 1] for 8 steps, and noise at all later steps.
        """
        digits = self.digits.dataset(split)
        count, rows, features = digits.inputs.shape
        noise = split_generators(self.seed)[split].standard_normal(
            (count, self.length - rows, features), dtype=np.float32
        )
        last = torch.full((count, 1), self.length - 1)
        return replace(
            digits,
            inputs=torch.cat([digits.inputs, torch.from_numpy(noise)], dim=1),
            lengths=torch.full((count,), self.length),
            query=last,
            lag=last.clone(),
            evidence=digit_steps,
        )

    def facts(self) -> Facts:
        """The facts of the task Digits, but with `length` = the length of the padded sequences."""
        return replace(self.digits.facts(), length=self.length)


def digit_steps(inputs: Float[Tensor, "batch time 8"]) -> Bool[Tensor, "batch 1 time"]:
    """The evidence: the steps that show the rows of the digit."""
    is_row = torch.arange(inputs.shape[1], device=inputs.device) < Digits.height
    return is_row.expand(len(inputs), 1, -1)
