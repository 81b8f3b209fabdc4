"""Lyapunov exponents of a product of Jacobians, by QR decomposition.

Q_n R_n = J_n Q_{n-1},  Q_0 = 1                the basis of all directions, carried on
λ_i = 1/N Σ_n ln |R_n|_ii                      exponents, in nats a step
D = j + Σ_{i≤j} λ_i / |λ_{j+1}|                Kaplan–Yorke dimension; j the last with a sum ≥ 0

Benettin et al. 1980, "Lyapunov characteristic exponents for smooth dynamical systems", part 2; for
recurrent networks Engelken, Wolf & Abbott 2023, "Lyapunov spectra of chaotic recurrent neural
networks". The dimension: Kaplan & Yorke 1979.

Several Jacobians are multiplied between two decompositions, as many as keep the growths of the
basis within e^SPREAD of each other, so that nothing overflows and no direction drowns in rounding.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

SPREAD = 12.0  # nats between the fastest and the slowest direction; float64 tells 30 apart
LONGEST = 32  # steps between two decompositions


def spectrum(
    jacobians: Iterable[Float[Tensor, "state state"]], *, warm_up: int = 0
) -> Float[Tensor, " state"]:
    """All exponents in nats a step, the largest first, from Jacobians in the order of time.

    The first `warm_up` steps turn the basis and do not count. A direction that a later step
    shrinks below what its precision tells from nothing has the exponent −∞: that step's Jacobian
    is singular, or as good as. All are NaN where a Jacobian is not finite.

    Raises ValueError where no step is left to count.
    """
    basis: Tensor | None = None
    total, steps, every, pending = torch.zeros(()), 0, 1, list[Tensor]()
    for steps, jacobian in enumerate(jacobians, start=1):
        pending.append(jacobian)
        if len(pending) < every and steps != warm_up:
            continue
        basis, growth = advanced(basis, pending)
        if steps > warm_up:
            total = total + growth
        every = _next_interval(growth, len(pending))
        pending = []
    if steps <= warm_up:
        raise ValueError(f"{steps} steps, of which {warm_up} warm up, leave none to count")
    if pending:
        total = total + advanced(basis, pending)[1]
    return (total / (steps - warm_up)).sort(descending=True).values


def advanced(
    basis: Float[Tensor, "state state"] | None, jacobians: Sequence[Float[Tensor, "state state"]]
) -> tuple[Float[Tensor, "state state"], Float[Tensor, " state"]]:
    """The basis after some steps (None: the unit basis before), and ln |R_ii| over all of them.

    One decomposition, or one a step where the product of all left the range of its precision.
    """
    q = torch.eye(len(jacobians[0]), dtype=jacobians[0].dtype) if basis is None else basis
    product = q
    for jacobian in jacobians:
        product = jacobian @ product
    following, growth = orthonormalised(product)
    if len(jacobians) == 1 or growth.isfinite().all():
        return following, growth
    growth = torch.zeros_like(growth)
    for jacobian in jacobians:
        q, grown = orthonormalised(jacobian @ q)
        growth = growth + grown
    return q, growth


def orthonormalised(
    basis: Float[Tensor, "state state"],
) -> tuple[Float[Tensor, "state state"], Float[Tensor, " state"]]:
    """Q, and ln |R_ii|, −∞ where that is rounding beside the largest; NaN of what is not finite."""
    if not basis.isfinite().all():
        return torch.full_like(basis, torch.nan), torch.full_like(basis[0], torch.nan)
    q, r = torch.linalg.qr(basis)
    sizes = r.diagonal().abs()
    nothing = len(basis) * torch.finfo(basis.dtype).eps * sizes.max()
    return q, torch.where(sizes > nothing, sizes, 0.0).log()


def _next_interval(growth: Float[Tensor, " state"], steps: int) -> int:
    """How many steps to multiply next, at most twice as many as these; one after a singular one.

    By the spread of the growths and by their size: either alone can leave the range of a number.
    """
    reach = max(float(growth.max() - growth.min()), float(growth.abs().max())) / steps
    within = SPREAD / reach if reach > SPREAD / LONGEST else LONGEST
    return max(1, min(2 * steps, int(within)))


def kaplan_yorke(exponents: Float[Tensor, " state"]) -> float:
    """The dimension in which a volume neither grows nor shrinks, from exponents, largest first.

    0 where every direction shrinks, the number of exponents where no volume does; NaN of NaN.
    """
    if exponents.isnan().any():
        return float("nan")
    sums = exponents.cumsum(0)
    whole = int((sums >= 0).sum())
    if whole in (0, len(exponents)):
        return float(whole)
    return whole + float(sums[whole - 1] / exponents[whole].abs())
