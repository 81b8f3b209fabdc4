"""Integrated gradients: (x_i − b_i) ∫₀¹ ∂f/∂x_i (b + α(x − b)) dα. Sundararajan et al. 2017, eq. 1.

b, the baseline, is the mean of the background. The values sum to f(x) − f(b) but for the error of
the quadrature, which is handed back. Captum computes it, by Gauss and Legendre's rule.
"""

from functools import partial

import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import Attribution, answer, within
from lookback.models.network import Network

STEPS_AT_ONCE = 32_768  # sequences × points × time in one pass: bounds memory


class IntegratedGradients:
    """The gradient at `points` points of the way from the baseline to the input."""

    def __init__(self, sequences: int, points: int):
        self.sequences = sequences
        self.points = points

    def attribute(
        self,
        model: Network,
        batch: Batch,
        query: int,
        output: Int[Tensor, " batch"],
        *,
        background: Float[Tensor, "sequence time feature"],
        generator: torch.Generator,
    ) -> Attribution:
        """Attribute a logit or a value; see Explainer."""
        method = CaptumIntegratedGradients(partial(answer, model))
        count, time = batch.inputs.shape[:2]
        # cuDNN refuses the backward pass of an nn.LSTM in eval mode, and train mode would turn
        # dropout on: another function than the one to explain. So cuDNN is off for this call,
        # whatever module the encoder is made of.
        with torch.backends.cudnn.flags(enabled=False):
            values, gap = method.attribute(
                batch.inputs,
                baselines=background.mean(dim=0, keepdim=True).expand_as(batch.inputs),
                target=output,
                additional_forward_args=(batch.lengths, batch.query[:, query]),
                n_steps=self.points,
                internal_batch_size=max(count, STEPS_AT_ONCE // time),
                return_convergence_delta=True,
            )
        inside = within(batch.lengths, time).unsqueeze(-1)
        return Attribution(values.detach() * inside, gap.detach().abs())
