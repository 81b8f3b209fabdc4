"""Information processing capacity: how much of the past input a state stores, bias removed.

The capacity C_d(k) is the R² of a ridge regression that predicts y(t) = P_d(u(t - k)) from the
state x(t). The inputs u(t) are independent and uniform on [-1, 1].

Degree d = 1 gives the linear memory capacity of [jaeger2001], section 2. [dambre2012] extends the
capacity to other targets. The target here is P_d(u(t - k)), the Legendre polynomial of degree d of
the input k steps ago. The targets P_d(u(t - k)) for different d or k are orthogonal to each other,
so the sum Σ C_d(k) over all d and k is at most N, the size of the state. [jaeger2001] proves this
bound for d = 1 and [dambre2012] for all d.

With a finite number n of samples, even states of pure noise have an R² above zero, and this bias
adds up in a sum over many delays. The code removes the bias exactly. The matrix Z (n samples × N
state units) holds the states, scaled to mean 0 and variance 1. The vector y is the target with its
mean subtracted, r is the ridge penalty, and H y is the prediction of y.

raw = 1 - ‖y - H y‖² / ‖y‖² = yᵀ (2 H - H²) y / ‖y‖²      with H = Z (ZᵀZ + n r I)⁻¹ Zᵀ
floor = tr(2 H - H²) / (n - 1)                            mean of raw over random orders of y
capacity = (raw - floor) / (1 - floor)                    adjusted R² if r = 0

If the target is independent of the states, the capacity is 0 on average. If K targets (one per
delay) are independent of the states and r = 0, the sum of their capacities has a standard deviation
of √(2 N K / (n (n - N))), with n samples and N state units. The capacity is 1 if the regression
predicts the target perfectly.

The regression needs more samples than state units. With n ≤ N samples, it fits any target
perfectly, so raw and floor are both 1 and the capacity has no meaning. With n ≥ 4 N and n ≥ 4 K
samples, the standard deviation of the sum is at most √(1/6) ≈ 0.4 inputs for all N and K. The probe
requires these numbers of samples (SAMPLES_PER_UNIT).

Held-out data would not remove the bias, because the R² of pure noise is on average as far below
zero on held-out data as it is above zero on the fitted data. [dambre2012] sets every capacity below
a threshold to zero, so that the sum contains only the values above the threshold. The code here
keeps slightly negative capacities, because clipping to zero would make the sum of the capacities
too large.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

ROUNDING = 1e-15  # a direction below this share of the strongest one is a rounding error
SAMPLES_PER_UNIT = 4  # minimum number of samples per state unit, and per delay


def capacities(
    states: Float[Tensor, "batch time state"],
    drive: Float[Tensor, "batch time"],
    *,
    degrees: Sequence[int],
    max_delay: int,
    ridge: float,
) -> pd.DataFrame:
    """Table of how well `states` store past inputs, with one row per degree and delay.

    `drive` is iid uniform on [-1, 1]. `states[b, t]` is the state after the input `drive[b, t]`, so
    delay 0 is the newest input. The first `max_delay` states of each sequence are not used, because
    fewer than `max_delay` inputs come before them. `ridge` is the penalty r, in units of the
    variance of a state unit.

    Columns:
        degree: degree of the Legendre polynomial.
        delay: steps from the input to the state, 0 to `max_delay`.
        raw: R² of the ridge regression before the bias is removed (no unit).
        capacity: R² of the ridge regression after the bias is removed (no unit).
    """
    readout = Readout.of(states[:, max_delay:].flatten(0, 1), ridge)
    frames = [
        readout.scores(_delayed(legendre(degree, drive.double()), max_delay))
        .assign(degree=degree)
        .rename_axis("delay")
        .reset_index()
        for degree in degrees
    ]
    return pd.concat(frames, ignore_index=True)[["degree", "delay", "raw", "capacity"]]


@dataclass(frozen=True)
class Readout:
    """Ridge regressions of many targets on the same states, computed with one decomposition.

    The singular value decomposition of Z / √n has the right vectors V and the squared singular
    values λ, and r is the ridge penalty. Directions below the rounding errors of float64 are left
    out. An eigendecomposition of ZᵀZ would lose directions below the square root of these errors.
    The R² before the bias is removed is raw = Σ_i w_i (u_iᵀ y)² / ‖y‖² with the left vectors u_i
    and w_i = λ_i (λ_i + 2 r) / (λ_i + r)².
    """

    projected: Float[Tensor, "sample state"]  # the left singular vectors U of Z
    weight: Float[Tensor, " state"]  # w
    floor: float  # The bias of R²: the mean R² over all permutations of the target's values.

    @classmethod
    def of(cls, states: Float[Tensor, "sample state"], ridge: float) -> "Readout":
        """Prepare the regressions on `states`, with each constant state unit set to zero."""
        centred = states.double() - states.double().mean(dim=0)
        deviation = centred.square().mean(dim=0).sqrt()
        varies = states.amax(dim=0) > states.amin(dim=0)
        z = torch.where(varies, centred / deviation, 0.0)
        left, singular, _ = torch.linalg.svd(z / math.sqrt(len(z)), full_matrices=False)
        eigenvalues = singular.square()
        weight = eigenvalues * (eigenvalues + 2 * ridge) / (eigenvalues + ridge).square()
        is_rounding = singular <= ROUNDING * singular.max()
        weight = torch.where(is_rounding, 0.0, weight)
        floor = weight.sum().item() / (len(z) - 1)
        return cls(left, weight, floor)

    def scores(self, targets: Float[Tensor, "sample target"]) -> pd.DataFrame:
        """Table with the columns `raw` and `capacity` (both R², no unit) and one row per target."""
        y = targets - targets.mean(dim=0)
        explained = (self.projected.T @ y).square() * self.weight[:, None]
        raw = explained.sum(dim=0) / y.square().sum(dim=0)
        capacity = (raw - self.floor) / (1 - self.floor)
        return pd.DataFrame({"raw": raw.numpy(), "capacity": capacity.numpy()})


def legendre(degree: int, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Legendre polynomial P_d(u) of degree d = `degree`.

    The code uses the recurrence (d + 1) P_{d+1} = (2 d + 1) u P_d - d P_{d-1}.
    """
    before, now = torch.zeros_like(u), torch.ones_like(u)
    for d in range(degree):
        before, now = now, ((2 * d + 1) * u * now - d * before) / (d + 1)
    return now


def _delayed(values: Float[Tensor, "batch time"], most: int) -> Float[Tensor, "sample delay"]:
    """Matrix with one row per step t ≥ `most`, whose column k holds the value k steps before t.

    All values in a row of the matrix come from the same sequence.
    """
    # `unfold` returns the oldest value first, and `flip` reverses the order to newest first.
    return values.unfold(1, most + 1, 1).flip(-1).flatten(0, 1)
