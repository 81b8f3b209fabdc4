"""Noise-padded digits, after the noise-padded CIFAR-10 of Chang et al. (2018, section 5.3).

The rows of a digit, one a step, and then nothing but noise, each value x_t ~ N(0, 1); which digit
it was is asked for at the last step. The evidence is the rows, and the lag goes back to the first.
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
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.errors import UserError


class PaddedDigits(Task):
    """Which digit was there before the noise?"""

    def __init__(
        self, dataset: Mapping[str, Any], length: int, validation: int, test: int, seed: int
    ):
        if length < Digits.height:
            raise UserError(
                f"length: {length} steps do not hold the {Digits.height} rows of a digit; make it "
                f"{Digits.height} or more."
            )
        self.digits = Digits(dataset, "rows", validation, test, seed)
        self.length, self.seed = length, seed

    def dataset(self, split: Split) -> SequenceDataset:
        """One split; inputs (N, T, 8): pixels in [0, 1], then noise."""
        seeds = dict(zip(SPLITS, np.random.SeedSequence(self.seed).spawn(len(SPLITS)), strict=True))
        digits = self.digits.dataset(split)
        count, rows, features = digits.inputs.shape
        noise = np.random.default_rng(seeds[split]).standard_normal(
            (count, self.length - rows, features), dtype=np.float32
        )
        last = torch.full((count, 1), self.length - 1)
        return replace(
            digits,
            inputs=torch.cat([digits.inputs, torch.from_numpy(noise)], dim=1),
            lengths=torch.full((count,), self.length),
            query=last,
            lag=last.clone(),
            evidence=rows_of_digit,
        )

    def facts(self) -> Facts:
        """Those of the digits, at this length."""
        return replace(self.digits.facts(), length=self.length)


def rows_of_digit(inputs: Float[Tensor, "batch time 8"]) -> Bool[Tensor, "batch 1 time"]:
    """The evidence: the steps that show the digit."""
    is_row = torch.arange(inputs.shape[1], device=inputs.device) < Digits.height
    return is_row.expand(len(inputs), 1, -1)
