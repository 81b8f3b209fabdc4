"""Linear read-out on held-out sequences: ridge regression [hoerl1970] in closed form.

W = argmin ‖Y - Z W‖² + λ n ‖W‖² = (ZᵀZ + λ n I)⁻¹ ZᵀY          Z, Y of the n fitting samples
R² = 1 - Σ ‖y - ŷ‖² / Σ ‖y - ȳ‖²                                 of the evaluation samples.

Half of the samples fit W, a quarter (the validation samples) choose λ, and the last quarter
evaluate the read-out. The columns of Z have mean 0 and variance 1 on the fitting samples. R² sums
over all columns of Y, so that each column is weighted by its variance.

ȳ is the mean of the fitting samples, not the mean of the evaluation samples. Therefore the best
constant answer that is known without the evaluation samples has R² = 0. With a large λ, the
read-out predicts ȳ.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class HeldOutReadout:
    """Read-outs of many targets from the same states.

    The eigendecomposition ZᵀZ / n = V diag(l) Vᵀ is computed only once.
    """

    def __init__(self, states: Float[Tensor, "sample state"]):
        self.parts = _parts(len(states))
        states = states.double()
        fit = states[self.parts[0]]
        varies = fit.amax(dim=0) > fit.amin(dim=0)
        z = torch.where(varies, (states - fit.mean(dim=0)) / fit.std(dim=0, correction=0), 0.0)
        z_fit = z[self.parts[0]]
        eigenvalues, directions = torch.linalg.eigh(z_fit.T @ z_fit / len(z_fit))
        self.eigenvalues = eigenvalues.clamp(min=0)  # Rounding can make them negative.
        self.projected = z @ directions  # Z V

    def answers(
        self, targets: Float[Tensor, "sample target"], penalty: float
    ) -> Float[Tensor, "sample target"]:
        """Predictions ŷ for all samples with λ = `penalty`, fitted on the fitting samples."""
        fit = self.parts[0]
        mean = targets[fit].double().mean(dim=0)
        product = self.projected[fit].T @ (targets[fit] - mean) / len(targets[fit])
        centred: Tensor = self.projected @ (product / (self.eigenvalues + penalty).unsqueeze(1))
        return centred + mean

    def skill(self, targets: Float[Tensor, "sample target"], penalties: Sequence[float]) -> float:
        """R² on the evaluation samples, with the best λ of `penalties`.

        The best λ has the smallest squared error on the validation samples. R² is not finite if
        every target of the evaluation samples equals the mean target of the fitting samples.
        """
        fit, choose, judge = self.parts
        errors = [self.answers(targets, penalty) - targets for penalty in penalties]
        best = min(errors, key=lambda error: error[choose].square().sum().item())
        spread = (targets[judge] - targets[fit].mean(dim=0)).square().sum()
        return 1 - (best[judge].square().sum() / spread).item()


def _parts(count: int) -> tuple[slice, slice, slice]:
    """Slices of the fitting (half), validation (quarter) and evaluation samples (quarter)."""
    half, rest = count // 2, count - count // 4
    return slice(0, half), slice(half, rest), slice(rest, count)
