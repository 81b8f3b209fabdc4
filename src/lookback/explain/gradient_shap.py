"""Gradient SHAP, or expected gradients: mean of (x − b) ∂f/∂x (b + α(x − b)) [erion2021].

The baseline b is a random training sequence, and α is uniform from 0 to 1. So the value is the mean
of integrated gradients over the baselines, estimated from one point of each path. The α of the
draws are stratified: draw k of K lies between k/K and (k + 1)/K. Every sequence of the batch gets
the same draws. The exact values sum to f(x) minus the mean of f(b).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import Attribution, explained_answer
from lookback.explain.gradients import gradient
from lookback.models.network import Network


class GradientShap:
    """Expected gradients from `draws` pairs of a baseline and a point on the path to it."""

    def __init__(self, sequences: int, draws: int):
        self.sequences = sequences
        self.draws = draws

    @torch.no_grad()
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

        The returned `error` is |Σ values − (f(x) − mean of f(b))|, the error of the estimate.
        """
        drawn = torch.randint(len(background), (self.draws,), generator=generator).tolist()
        inside = torch.rand(self.draws, generator=generator)
        alphas = ((torch.arange(self.draws) + inside) / self.draws).tolist()
        total = torch.zeros_like(batch.inputs)
        change = explained_answer(model, batch, output, batch.inputs)
        for number, alpha in zip(drawn, alphas, strict=True):
            baseline = background[number].expand_as(batch.inputs)
            distance = batch.inputs - baseline
            total += distance * gradient(model, batch, output, baseline + alpha * distance)
            change -= explained_answer(model, batch, output, baseline) / self.draws
        values = total / self.draws
        return Attribution(values, (values.sum(dim=(1, 2)) - change).abs(), baseline="data")
