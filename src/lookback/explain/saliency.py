"""Saliency: ∂f/∂x, the gradient of the answer with respect to each input value [simonyan2014].

The paper shows the absolute value of the gradient. The values here keep their sign.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import Attribution
from lookback.explain.gradients import gradient
from lookback.models.network import Network


class Saliency:
    """The gradient, which says how sensitive the answer is to a small change of an input value."""

    def __init__(self, sequences: int):
        self.sequences = sequences

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
        return Attribution(gradient(model, batch, output, batch.inputs))
