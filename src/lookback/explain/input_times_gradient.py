"""Input × gradient: (x − b) ∂f/∂x, the first-order change of the answer from b to x [ancona2018].

b is the baseline. With b = 0, the value is the product of the input and the gradient. The values
sum to f(x) − f(b) if f is linear.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import Attribution
from lookback.explain.baselines import baselines_of
from lookback.explain.gradients import gradient
from lookback.models.network import Network


class InputTimesGradient:
    """The gradient times the distance of the input from the baseline «zero» or «mean»."""

    def __init__(self, sequences: int, baseline: Literal["zero", "mean"]):
        self.sequences = sequences
        self.baseline: Literal["zero", "mean"] = baseline

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
        (baseline,) = baselines_of(self.baseline, background, draws=1)
        slope = gradient(model, batch, output, batch.inputs)
        return Attribution((batch.inputs - baseline) * slope, baseline=self.baseline)
