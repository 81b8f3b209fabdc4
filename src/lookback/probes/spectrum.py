"""Lyapunov exponents of a product of Jacobians, computed by QR decomposition.

The QR decomposition Q_n R_n = J_n Q_{n-1}, with Q_0 = I, gives an orthonormal basis Q_n of the
state after each step n. The exponents are λ_i = 1/N Σ_n ln |R_n|_ii for N steps, in nats per step.
The algorithm is from [benettin1980], part 2, and [engelken2023] uses it for recurrent networks. The
Kaplan–Yorke dimension is D = j + Σ_{i≤j} λ_i / |λ_{j+1}|, where j is the last index with Σ_{i≤j}
λ_i ≥ 0 [kaplan1979].

The code multiplies several Jacobians between two QR decompositions. The number of multiplied
Jacobians is limited so that the growth factors of any two directions differ by at most the factor
e^SPREAD. More Jacobians per decomposition could cause an overflow, or lose a direction in the
rounding error.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

# Maximum growth difference between two directions, in nats (float64 precision allows about 30).
SPREAD = 12.0
LONGEST = 32  # Maximum number of steps between two QR decompositions.


def spectrum(
    jacobians: Iterable[Float[Tensor, "state state"]], *, warm_up: int = 0
) -> Float[Tensor, " state"]:
    """All Lyapunov exponents in nats per step, largest first, from Jacobians in the order of time.

    The first `warm_up` steps only align the basis vectors and do not count in the mean. An exponent
    is −∞ if a Jacobian is numerically singular, that is, if it shrinks a direction below the
    rounding error. All exponents are NaN if a Jacobian is not finite.

    Raises ValueError if no step is left after the warm-up.
    """
    basis: Tensor | None = None
    total, steps, interval, pending = torch.zeros(()), 0, 1, list[Tensor]()
    for steps, jacobian in enumerate(jacobians, start=1):
        pending.append(jacobian)
        if len(pending) < interval and steps != warm_up:
            continue
        basis, growth = advance_basis(basis, pending)
        if steps > warm_up:
            total = total + growth
        interval = _next_interval(growth, len(pending))
        pending = []
    if steps <= warm_up:
        raise ValueError(
            f"{steps} steps, {warm_up} of them for the warm-up, leave no step to count"
        )
    if pending:
        total = total + advance_basis(basis, pending)[1]
    return (total / (steps - warm_up)).sort(descending=True).values


def advance_basis(
    basis: Float[Tensor, "state state"] | None, jacobians: Sequence[Float[Tensor, "state state"]]
) -> tuple[Float[Tensor, "state state"], Float[Tensor, " state"]]:
    """The orthonormal basis after several steps, and ln |R_ii| summed over these steps.

    If `basis` is None, the steps start from the identity matrix. The function makes one QR
    decomposition of the product of all Jacobians. If the product of all Jacobians overflows or is
    numerically singular, the function makes one QR decomposition per step instead.
    """
    q = torch.eye(len(jacobians[0]), dtype=jacobians[0].dtype) if basis is None else basis
    product = q
    for jacobian in jacobians:
        product = jacobian @ product
    next_basis, growth = orthonormalised(product)
    if len(jacobians) == 1 or growth.isfinite().all():
        return next_basis, growth
    growth = torch.zeros_like(growth)
    for jacobian in jacobians:
        q, step_growth = orthonormalised(jacobian @ q)
        growth = growth + step_growth
    return q, growth


def orthonormalised(
    basis: Float[Tensor, "state state"],
) -> tuple[Float[Tensor, "state state"], Float[Tensor, " state"]]:
    """The matrix Q and the vector ln |R_ii| of the QR decomposition of `basis`.

    ln |R_ii| is −∞ if |R_ii| is below the rounding error of the largest one. Q and ln |R_ii| are
    NaN if `basis` is not finite.
    """
    if not basis.isfinite().all():
        return torch.full_like(basis, torch.nan), torch.full_like(basis[0], torch.nan)
    q, r = torch.linalg.qr(basis)
    sizes = r.diagonal().abs()
    rounding = len(basis) * torch.finfo(basis.dtype).eps * sizes.max()
    return q, torch.where(sizes > rounding, sizes, 0.0).log()


def _next_interval(growth: Float[Tensor, " state"], steps: int) -> int:
    """Number of steps before the next QR decomposition, at most twice `steps`.

    After a singular Jacobian, the next QR decomposition follows after 1 step. The number of steps
    is small if a direction grows or shrinks fast, so that the product of the Jacobians does not
    overflow or underflow. The number of steps is also small if two directions grow at very
    different rates, so that no direction is lost in the rounding error.
    """
    growth_per_step = max(float(growth.max() - growth.min()), float(growth.abs().max())) / steps
    limit = SPREAD / growth_per_step if growth_per_step > SPREAD / LONGEST else LONGEST
    return max(1, min(2 * steps, int(limit)))


def kaplan_yorke(exponents: Float[Tensor, " state"]) -> float:
    """Kaplan–Yorke dimension: the dimension in which a volume neither grows nor shrinks.

    `exponents` are in descending order. The Kaplan–Yorke dimension is 0 if all exponents are
    negative. The Kaplan–Yorke dimension is the number of exponents if the sum of the exponents is
    not negative. The Kaplan–Yorke dimension is NaN if any exponent is NaN.
    """
    if exponents.isnan().any():
        return float("nan")
    sums = exponents.cumsum(0)
    whole = int((sums >= 0).sum())
    if whole in (0, len(exponents)):
        return float(whole)
    return whole + float(sums[whole - 1] / exponents[whole].abs())
