"""How much of its input's past a state holds: information processing capacity, bias removed.

C_d(k) = R² of the ridge read-out of y(t) = P_d(u(t - k)) from the state x(t),  u ~ U(-1, 1) iid

d = 1 is the linear memory capacity of Jaeger 2001, "Short term memory in echo state networks",
section 2; P_d, the Legendre polynomial of degree d of one delay, is of Dambre et al. 2012,
"Information processing capacity of dynamical systems". The P_d(u(t - k)) are orthogonal to each
other, so that Σ C_d(k) over all d and k is at most N, the size of the state, as Dambre proves, and
Jaeger for d = 1.

On n samples even white noise reaches an R² above zero, and Σ adds it up over the delays. Here it
is taken off exactly. With Z (n × N) the states, each of mean 0 and variance 1, and y centred,

H = Z (ZᵀZ + n r I)⁻¹ Zᵀ                                  the read-out's answer is H y
raw = 1 - ‖y - H y‖² / ‖y‖² = yᵀ (2 H - H²) y / ‖y‖²
floor = tr(2 H - H²) / (n - 1)                            mean of raw, y in random order
capacity = (raw - floor) / (1 - floor)                    the adjusted R² where r = 0

For independent y, whatever the states, capacity has mean 0 and a sum over K delays scatters by
√(2 N K) / n only; a perfect read-out keeps 1. An R² on held-out data is the alternative, but it
falls below zero as far as the R² on the same data lies above, so its sum is no less wrong. Dambre
sets what is below a threshold to zero, which leaves a sum of what is above. A capacity may so be
slightly negative: none is cut off, or the sum would again be too large.
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
    """Columns degree, delay (steps), raw, capacity; delays 0 to `max_delay`.

    `states[b, t]` follows `drive[b, t]`, iid uniform on [-1, 1], so delay 0 is the newest input.
    The first `max_delay` steps of each sequence are not read out, since their past is not whole:
    they are the warm-up. `ridge` is r, in units of a state's variance.
    """
    readout = Readout.of(states[:, max_delay:].flatten(0, 1), ridge)
    frames = [
        readout.found(_delayed(legendre(degree, drive.double()), max_delay))
        .assign(degree=degree)
        .rename_axis("delay")
        .reset_index()
        for degree in degrees
    ]
    return pd.concat(frames, ignore_index=True)[["degree", "delay", "raw", "capacity"]]


@dataclass(frozen=True)
class Readout:
    """Ridge read-outs of any target from the same samples: one decomposition for all.

    With ZᵀZ / n = V diag(λ) Vᵀ, raw = Σ_i w_i (v_iᵀ Zᵀ y)² / (n ‖y‖²), w = (λ + 2 r) / (λ + r)².
    """

    projected: Float[Tensor, "sample state"]  # Z V
    weight: Float[Tensor, " state"]  # w
    floor: float

    @classmethod
    def of(cls, states: Float[Tensor, "sample state"], ridge: float) -> "Readout":
        """From samples of the states; a state that never moves is left at zero."""
        centred = states.double() - states.double().mean(dim=0)
        deviation = centred.square().mean(dim=0).sqrt()
        moves = states.amax(dim=0) > states.amin(dim=0)
        z = torch.where(moves, centred / deviation, 0.0)
        eigenvalues, directions = torch.linalg.eigh(z.T @ z / len(z))
        eigenvalues = eigenvalues.clamp(min=0)  # rounding
        weight = (eigenvalues + 2 * ridge) / (eigenvalues + ridge).square()
        floor = (eigenvalues * weight).sum().item() / (len(z) - 1)
        return cls(z @ directions, weight, floor)

    def found(self, targets: Float[Tensor, "sample target"]) -> pd.DataFrame:
        """Columns raw, capacity; a row a target."""
        y = targets - targets.mean(dim=0)
        explained = (self.projected.T @ y).square() * self.weight[:, None]
        raw = explained.sum(dim=0) / (len(y) * y.square().sum(dim=0))
        capacity = (raw - self.floor) / (1 - self.floor)
        return pd.DataFrame({"raw": raw.numpy(), "capacity": capacity.numpy()})


def legendre(degree: int, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """P_d(u), by (d + 1) P_{d+1} = (2 d + 1) u P_d - d P_{d-1}."""
    before, now = torch.zeros_like(u), torch.ones_like(u)
    for d in range(degree):
        before, now = now, ((2 * d + 1) * u * now - d * before) / (d + 1)
    return now


def _delayed(values: Float[Tensor, "batch time"], most: int) -> Float[Tensor, "sample delay"]:
    """Column k holds the values k steps before, of the steps from `most` on; no two sequences mix.

    A window of time holds them from the oldest to the newest.
    """
    return values.unfold(1, most + 1, 1).flip(-1).flatten(0, 1)
