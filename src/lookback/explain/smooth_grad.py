"""SmoothGrad: the mean of the gradient at x + noise, over several draws of noise [smilkov2017].

The noise is normal. Its standard deviation is the share `noise` of the range from the smallest to
the largest value of a sequence, as in the paper. Every sequence gets the same draws, so the values
of a sequence do not depend on the other sequences of the batch.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.errors import UserError
from lookback.explain.base import Attribution, within
from lookback.explain.gradients import gradient
from lookback.models.network import Network


class SmoothGrad:
    """The mean of the gradients at `draws` points around each sequence."""

    def __init__(self, sequences: int, draws: int, noise: float):
        if noise <= 0:
            raise UserError(f"The explainer's `noise` is {noise}. Make it greater than 0.")
        self.sequences = sequences
        self.draws = draws
        self.noise = noise

    def attribute(
        self,
        model: Network,
        batch: Batch,
        output: Int[Tensor, " batch"],
        *,
        background: Float[Tensor, "sequence time feature"],
        generator: torch.Generator,
    ) -> Attribution:
        """Attribute one logit, or one value in a regression task, as in `Explainer`."""
        inputs = batch.inputs
        outside = ~within(batch.lengths, inputs.shape[1]).unsqueeze(-1)
        largest = inputs.masked_fill(outside, -torch.inf).amax(dim=(1, 2), keepdim=True)
        smallest = inputs.masked_fill(outside, torch.inf).amin(dim=(1, 2), keepdim=True)
        deviation = self.noise * (largest - smallest)
        total = torch.zeros_like(inputs)
        for _ in range(self.draws):
            drawn = torch.randn(inputs.shape[1:], generator=generator).to(inputs)
            total += gradient(model, batch, output, inputs + deviation * drawn)
        return Attribution(total / self.draws)
