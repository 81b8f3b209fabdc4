"""Integrated gradients: (x_i − b_i) ∫₀¹ ∂f/∂x_i (b + α(x − b)) dα [sundararajan2017], eq. 1.

The baseline b is zero, or the mean of the background sequences at each step (baselines.py). The
attributions sum to f(x) − f(b), except for the error of the numerical integration, which is
returned as `error`. The library Captum computes the integral by the Gauss–Legendre rule. The
explainer `gradient_shap` averages over baselines from the data.
"""

from functools import partial
from typing import Literal

import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import Attribution, answer, within
from lookback.explain.baselines import baselines_of
from lookback.explain.completeness import LARGEST_GAP
from lookback.models.network import Network

MOST_POINTS = 16  # a sequence gets at most this many times `points`
# To limit memory, one pass has at most this many sequences × integration points × time steps.
STEPS_AT_ONCE = 32_768


class IntegratedGradients:
    """Integrated gradients with `points` integration points between the baseline and the input.

    A sequence whose attributions miss f(x) − f(b) by more than LARGEST_GAP of it gets twice as many
    points, again and again, up to MOST_POINTS times `points`.
    """

    def __init__(self, sequences: int, points: int, baseline: Literal["zero", "mean"]):
        self.sequences = sequences
        self.baseline: Literal["zero", "mean"] = baseline
        self.points = points

    def attribute(
        self,
        model: Network,
        batch: Batch,
        output: Int[Tensor, " batch"],
        *,
        background: Float[Tensor, "sequence time feature"],
        generator: torch.Generator,
    ) -> Attribution:
        """Attribute one logit (or one value in a regression task) to the inputs, as in `Explainer`.

        The returned `error` is |Σ values − (f(x) − f(b))|, the error of the numerical integration.
        """
        method = CaptumIntegratedGradients(partial(answer, model))
        count, time = batch.inputs.shape[:2]
        baseline = baselines_of(self.baseline, background, draws=1).expand_as(batch.inputs)

        def integrated(rows: Int[Tensor, " row"], points: int) -> tuple[Tensor, Tensor]:
            """The attributions of some sequences, and Σ values − (f(x) − f(b)) of each."""
            values, gap = method.attribute(
                batch.inputs[rows],
                baselines=baseline[rows],
                target=output[rows],
                additional_forward_args=(batch.lengths[rows], batch.query[rows]),
                n_steps=points,
                internal_batch_size=max(count, STEPS_AT_ONCE // time),
                return_convergence_delta=True,
            )
            return values.detach(), gap.detach()

        points = self.points
        values, gap = integrated(torch.arange(count, device=output.device), points)
        change = (values.flatten(1).sum(dim=1) - gap).abs()
        while points < MOST_POINTS * self.points:
            wide = (gap.abs() > LARGEST_GAP * change).nonzero()[:, 0]
            if not len(wide):
                break
            points *= 2
            values[wide], gap[wide] = integrated(wide, points)
        inside = within(batch.lengths, time).unsqueeze(-1)
        return Attribution(values * inside, gap.abs(), self.baseline, change=change)
