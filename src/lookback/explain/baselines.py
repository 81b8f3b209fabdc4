"""Baselines: the inputs that stand for «nothing is known about this step».

The setting `baseline` of an explainer in conf/explainer/ names the baseline.

zero  all embedded inputs are zero
mean  the mean of the background sequences at each step
data  one background sequence after another; the explainer averages over them
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Baseline = Literal["zero", "mean", "data"]


def baselines_of(
    baseline: Baseline, background: Float[Tensor, "sequence time feature"], draws: int
) -> Float[Tensor, "draw time feature"]:
    """The baselines that `baseline` names: one, or the first `draws` sequences of `background`.

    The sequences of `background` are in random order, so the first of them are random draws. If
    there are fewer than `draws` of them, all of them are the baselines.
    """
    if baseline == "data":
        return background[:draws]
    mean = background.mean(dim=0, keepdim=True)
    return torch.zeros_like(mean) if baseline == "zero" else mean
