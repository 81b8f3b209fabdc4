"""What a linear read-out finds on sequences that it was not fitted to: ridge, in closed form.

W = argmin ‖Y - Z W‖² + λ n ‖W‖² = (ZᵀZ + λ n I)⁻¹ ZᵀY          Z, Y of the n samples to fit
R² = 1 - Σ ‖y - ŷ‖² / Σ ‖y - ȳ‖²                                 of the samples to judge

Hoerl and Kennard 1970, "Ridge regression". Columns of Z have mean 0 and variance 1 on the samples
to fit; R² is over all columns of Y together, so each counts by its variance. Half of the samples
are to fit, a quarter to choose λ, the last quarter to judge. ȳ is the mean of those to fit, not of
those to judge, so that 0 is the best constant that could be known, which a large λ gives.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class HeldOutReadout:
    """Read-outs of any targets from the same states: ZᵀZ / n = V diag(l) Vᵀ is made once."""

    def __init__(self, states: Float[Tensor, "sample state"]):
        self.parts = _parts(len(states))
        states = states.double()
        fit = states[self.parts[0]]
        moves = fit.amax(dim=0) > fit.amin(dim=0)
        z = torch.where(moves, (states - fit.mean(dim=0)) / fit.std(dim=0, correction=0), 0.0)
        z_fit = z[self.parts[0]]
        eigenvalues, directions = torch.linalg.eigh(z_fit.T @ z_fit / len(z_fit))
        self.eigenvalues = eigenvalues.clamp(min=0)  # rounding
        self.projected = z @ directions  # Z V

    def answers(
        self, targets: Float[Tensor, "sample target"], penalty: float
    ) -> Float[Tensor, "sample target"]:
        """Ŷ of all samples, by λ = `penalty` and the targets of the samples to fit."""
        fit = self.parts[0]
        mean = targets[fit].double().mean(dim=0)
        product = self.projected[fit].T @ (targets[fit] - mean) / len(targets[fit])
        found: Tensor = self.projected @ (product / (self.eigenvalues + penalty).unsqueeze(1))
        return found + mean

    def skill(self, targets: Float[Tensor, "sample target"], penalties: Sequence[float]) -> float:
        """R² of the samples to judge, by the λ that is best on those to choose by.

        NaN where no target to judge differs from the mean.
        """
        fit, choose, judge = self.parts
        found = [self.answers(targets, penalty) - targets for penalty in penalties]
        best = min(found, key=lambda error: error[choose].square().sum().item())
        spread = (targets[judge] - targets[fit].mean(dim=0)).square().sum()
        return 1 - (best[judge].square().sum() / spread).item()


def _parts(count: int) -> tuple[slice, slice, slice]:
    half, rest = count // 2, count - count // 4
    return slice(0, half), slice(half, rest), slice(rest, count)
