"""Scaling of raw inputs: input = (raw − mean) / scale, with a mean and a scale for each feature."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Scaling:
    """The mean and the scale of each feature, in units of the raw input."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def apply(self, raw: Shaped[Tensor, "*axes feature"]) -> Float[Tensor, "*axes feature"]:
        """Convert raw inputs of any numeric type to scaled float32 inputs."""
        mean = torch.tensor(self.mean, dtype=torch.float32)
        scale = torch.tensor(self.scale, dtype=torch.float32)
        return (raw.float() - mean) / scale


def unit_range(brightest: int, features: int) -> Scaling:
    """The scaling that maps raw values 0 … `brightest` to 0 … 1 in each of `features` features."""
    return Scaling(mean=(0.0,) * features, scale=(float(brightest),) * features)
