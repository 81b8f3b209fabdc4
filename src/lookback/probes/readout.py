"""Linear read-out by ridge regression [hoerl1970] in closed form, tested on held-out sequences.

The matrix Z holds the scaled states and Y the centred targets, with one row per sample. The weights
W minimise ‖Y - Z W‖² + λ n ‖W‖² over the n fitting samples, so W = (ZᵀZ + λ n I)⁻¹ ZᵀY. The skill
is R² = 1 - Σ ‖y - ŷ‖² / Σ ‖y - ȳ‖² over the evaluation samples.

Half of the samples fits the weights W, a quarter (the validation samples) chooses the penalty λ,
and the last quarter evaluates the read-out. The columns of the state matrix Z have mean 0 and
variance 1 on the fitting samples. The sums in R² run over all columns of the targets Y, so that
each column is weighted by its variance.

ȳ is the mean of the fitting samples, not the mean of the evaluation samples. R² is 0 if every
answer is ȳ, the best constant answer on the fitting samples. If the penalty λ is very large, the
read-out predicts ȳ for every sample.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class HeldOutReadout:
    """Ridge regressions of many targets on the same states.

    All targets share the eigendecomposition ZᵀZ / n = V diag(l) Vᵀ, which is computed only once.
    """

    def __init__(self, states: Float[Tensor, "sample state"]):
        self.parts = _parts(len(states))
        states = states.double()
        fit = states[self.parts[0]]
        varies = fit.amax(dim=0) > fit.amin(dim=0)
        z = torch.where(varies, (states - fit.mean(dim=0)) / fit.std(dim=0, correction=0), 0.0)
        z_fit = z[self.parts[0]]
        eigenvalues, directions = torch.linalg.eigh(z_fit.T @ z_fit / len(z_fit))
        self.eigenvalues = eigenvalues.clamp(min=0)  # Rounding can make eigenvalues negative.
        self.projected = z @ directions  # Z V

    def answers(
        self, targets: Float[Tensor, "sample target"], penalty: float
    ) -> Float[Tensor, "sample target"]:
        """Predictions ŷ for all samples, by a ridge regression with the penalty λ = `penalty`.

        The weights and the mean ȳ are computed on the fitting samples.
        """
        fit = self.parts[0]
        mean = targets[fit].double().mean(dim=0)
        product = self.projected[fit].T @ (targets[fit] - mean) / len(targets[fit])
        centred: Tensor = self.projected @ (product / (self.eigenvalues + penalty).unsqueeze(1))
        return centred + mean

    def skill(self, targets: Float[Tensor, "sample target"], penalties: Sequence[float]) -> float:
        """R² on the evaluation samples, with the best penalty λ of `penalties`.

        The best penalty λ has the smallest squared error on the validation samples. R² is not
        finite if every target of the evaluation samples equals the mean target of the fitting
        samples.
        """
        fit, choose, judge = self.parts
        errors = [self.answers(targets, penalty) - targets for penalty in penalties]
        best = min(errors, key=lambda error: error[choose].square().sum().item())
        spread = (targets[judge] - targets[fit].mean(dim=0)).square().sum()
        return 1 - (best[judge].square().sum() / spread).item()


def _parts(count: int) -> tuple[slice, slice, slice]:
    """Slices of the samples for fitting (half), validation (quarter) and evaluation (quarter)."""
    half, rest = count // 2, count - count // 4
    return slice(0, half), slice(half, rest), slice(rest, count)
