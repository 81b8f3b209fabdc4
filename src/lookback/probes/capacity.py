"""Information processing capacity: how much of the past input a state stores, bias removed.

C_d(k) = R² of the ridge read-out of y(t) = P_d(u(t - k)) from the state x(t),  u ~ U(-1, 1) iid.

Degree d = 1 gives the linear memory capacity of [jaeger2001], section 2. [dambre2012] extends the
capacity to other targets, here P_d, the Legendre polynomial of degree d, of the input k steps ago.
The targets P_d(u(t - k)) are orthogonal to each other. Therefore the sum Σ C_d(k) over all d and k
is at most N, the size of the state. [jaeger2001] proves this bound for d = 1 and [dambre2012] for
all d.

On n samples, even white-noise states reach an R² above zero, and the sum over delays adds up this
bias. The code removes the bias exactly. Z (n × N) holds the states, scaled to mean 0 and variance
1, y is the target with its mean subtracted, and r is the ridge penalty:

H = Z (ZᵀZ + n r I)⁻¹ Zᵀ                                  the read-out predicts H y
raw = 1 - ‖y - H y‖² / ‖y‖² = yᵀ (2 H - H²) y / ‖y‖²
floor = tr(2 H - H²) / (n - 1)                            mean of raw over random orders of y
capacity = (raw - floor) / (1 - floor)                    adjusted R² if r = 0.

If y is independent of the states, the capacity has mean 0, and a sum over K delays has a standard
deviation of only √(2 N K) / n. A perfect read-out has the capacity 1.

An R² on held-out data would also be biased. The held-out R² is on average as far below zero as the
R² on the fitted data is above zero. [dambre2012] sets every capacity below a threshold to zero, so
that the sum contains only the values above the threshold. This code keeps slightly negative
capacities, because clipping to zero would make the sum of the capacities too large.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor


def capacities(
    states: Float[Tensor, "batch time state"],
    drive: Float[Tensor, "batch time"],
    *,
    degrees: Sequence[int],
    max_delay: int,
    ridge: float,
) -> pd.DataFrame:
    """Capacity of the states for each degree and delay.

    `drive` is iid uniform on [-1, 1]. `states[b, t]` is the state after the input `drive[b, t]`, so
    delay 0 is the newest input. The first `max_delay` steps of each sequence are the warm-up. The
    warm-up states are not read out, because their inputs do not reach back `max_delay` steps.
    `ridge` is the penalty r, in units of the variance of a state unit.

    Columns:
        degree: degree of the Legendre polynomial.
        delay: steps from the input to the state, 0 to `max_delay`.
        raw: R² of the read-out with its bias (no unit).
        capacity: R² with the bias removed (no unit).
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
    """Ridge read-outs of many targets from the same samples, with one eigendecomposition.

    With ZᵀZ / n = V diag(λ) Vᵀ, raw = Σ_i w_i (v_iᵀ Zᵀ y)² / (n ‖y‖²), w = (λ + 2 r) / (λ + r)².
    """

    projected: Float[Tensor, "sample state"]  # Z V
    weight: Float[Tensor, " state"]  # w
    floor: float  # mean R² for target values in random order

    @classmethod
    def of(cls, states: Float[Tensor, "sample state"], ridge: float) -> "Readout":
        """Prepare the read-out of `states`, with constant state units set to zero."""
        centred = states.double() - states.double().mean(dim=0)
        deviation = centred.square().mean(dim=0).sqrt()
        varies = states.amax(dim=0) > states.amin(dim=0)
        z = torch.where(varies, centred / deviation, 0.0)
        eigenvalues, directions = torch.linalg.eigh(z.T @ z / len(z))
        eigenvalues = eigenvalues.clamp(min=0)  # Rounding can make them negative.
        weight = (eigenvalues + 2 * ridge) / (eigenvalues + ridge).square()
        floor = (eigenvalues * weight).sum().item() / (len(z) - 1)
        return cls(z @ directions, weight, floor)

    def scores(self, targets: Float[Tensor, "sample target"]) -> pd.DataFrame:
        """Columns raw and capacity (both R², no unit), with one row per target."""
        y = targets - targets.mean(dim=0)
        explained = (self.projected.T @ y).square() * self.weight[:, None]
        raw = explained.sum(dim=0) / (len(y) * y.square().sum(dim=0))
        capacity = (raw - self.floor) / (1 - self.floor)
        return pd.DataFrame({"raw": raw.numpy(), "capacity": capacity.numpy()})


def legendre(degree: int, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """P_d(u), by the recurrence (d + 1) P_{d+1} = (2 d + 1) u P_d - d P_{d-1}."""
    before, now = torch.zeros_like(u), torch.ones_like(u)
    for d in range(degree):
        before, now = now, ((2 * d + 1) * u * now - d * before) / (d + 1)
    return now


def _delayed(values: Float[Tensor, "batch time"], most: int) -> Float[Tensor, "sample delay"]:
    """Matrix whose column k holds the values k steps earlier, for the steps from `most` on.

    All values of a row come from the same sequence.
    """
    # `unfold` puts the oldest value first, and `flip` puts the newest value first.
    return values.unfold(1, most + 1, 1).flip(-1).flatten(0, 1)
