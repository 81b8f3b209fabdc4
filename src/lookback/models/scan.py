"""Parallel scan: all states of the linear recurrence x_t = a_t ⊙ x_{t-1} + b_t with x_{-1} = 0.

The algorithm is the parallel scan [blelloch1990], but with two levels instead of log T levels,
because each level reads and writes all states in memory once. The algorithm has four steps:

1. The T steps are cut into blocks of √T steps.
2. All blocks are computed in parallel, as if the state before each block were zero. For each step,
   the product p of the block's coefficients up to this step is also computed.
3. A loop over the blocks computes the state before each block (the entering state).
4. p ⊙ (the entering state) is added to the state of every step.

The algorithm uses no division and no logarithm, so it cannot overflow if |a| ≤ 1. The usual formula
exp(Σ log a + logcumsumexp(log b − Σ log a)) [heinsen2023] needs a > 0 and b > 0, and its long sums
lose precision. The table compares times and errors for one thread, float32 and
(B, T, H) = (64, 784, 128).

blocks of √T steps           16 ms   error 6e-7
[heinsen2023]               476 ms   error 3e-4, and 3e-3 at T = 4,096
doubling [hillis1986]       538 ms

If |a| is close to 1, a state remembers thousands of steps, and the rounding error of a adds up from
3e-8 to 3e-5 after 1,000 steps. To limit rounding errors, the coefficients a may have a higher
precision than the values b. With coefficients of higher precision, the products p and the entering
states are computed in the higher precision. In this case, a block has 16 steps at most, and inside
a block, the coefficients are rounded to the precision of b.

The gradient s_t of a loss L with respect to b_t follows the same recurrence from the last step to
the first, s_t = ∂L/∂x_t + ā_{t+1} ⊙ s_{t+1}, where ā is the complex conjugate of a.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
from jaxtyping import Inexact, Int
from torch import Tensor

LONGEST = 16  # the maximum number of steps per block if coefficients are more precise than values


def scan(
    coefficients: Inexact[Tensor, "_ time hidden"],
    values: Inexact[Tensor, "batch time hidden"],
    *,
    from_end: bool = False,
) -> Inexact[Tensor, "batch time hidden"]:
    """The states x_t of all steps, for real or complex numbers.

    If `from_end` is true, the recurrence x_t = a_t ⊙ x_{t+1} + b_t runs from x_T = 0 to the first
    step. The `coefficients` a have the batch size of the `values` b, or the batch size 1 if all
    sequences share the coefficients. The coefficients have the dtype of the values. If a state
    remembers many steps, the coefficients should have double precision to limit rounding errors.
    """
    links = coefficients[:, :-1] if from_end else coefficients[:, 1:]
    states: Tensor = _Scan.apply(links, values, from_end)  # type: ignore[no-untyped-call]
    return states


def zero_past(
    values: Inexact[Tensor, "batch time hidden"], lengths: Int[Tensor, " batch"]
) -> Inexact[Tensor, "batch time hidden"]:
    """Set the values after each sequence's last step to zero.

    With zeros in the padding, a scan from the end reaches a sequence's last step with state zero.
    """
    step = torch.arange(values.shape[1], device=values.device)
    return values.masked_fill((step >= lengths.unsqueeze(1)).unsqueeze(-1), 0.0)


class _Scan(torch.autograd.Function):
    """A scan with a gradient.

    The argument `links` holds only T - 1 coefficients, because the first state of the recurrence
    needs no coefficient. The gradient is computed by a scan, so it has gradients of any order.
    """

    @staticmethod
    def forward(ctx: Any, links: Tensor, values: Tensor, from_end: bool) -> Tensor:
        states = _run(links, values, from_end)
        ctx.save_for_backward(links, states)
        ctx.from_end = from_end
        return states

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        links, states = ctx.saved_tensors
        reverse = not ctx.from_end
        total: Tensor = _Scan.apply(links.conj().resolve_conj(), gradient, reverse)  # type: ignore[no-untyped-call]
        if not ctx.needs_input_grad[0]:
            return None, total, None
        if ctx.from_end:
            of_links = total[:, :-1] * states[:, 1:].conj()
        else:
            of_links = total[:, 1:] * states[:, :-1].conj()
        return of_links.sum_to_size(links.shape).to(links.dtype), total, None


def _run(links: Tensor, values: Tensor, from_end: bool) -> Tensor:
    """Compute the states of whole blocks in parallel, then the remaining states one by one."""
    states = torch.empty_like(values, memory_format=torch.contiguous_format)
    time = values.shape[1]
    size = isqrt(time) if links.dtype == values.dtype else min(isqrt(time), LONGEST)
    # `links` is cut into the same blocks as the states, but holds only T - 1 coefficients, so the
    # blocks contain T - 1 steps at most.
    whole = (time - 1) // size * size
    rounded = links.to(values.dtype)
    x, b, a = (_in_order(tensor.unbind(1), from_end) for tensor in (states, values, rounded))
    x[0].copy_(b[0])
    if whole:
        tensors = (states, values, links, rounded)
        _run_blocks(
            *(_blocks(tensor, whole, size, from_end) for tensor in tensors), from_end=from_end
        )
    for step in range(max(whole, 1), time):
        torch.addcmul(b[step], a[step - 1], x[step - 1], out=x[step])
    return states


def _run_blocks(
    states: Tensor, values: Tensor, links: Tensor, rounded: Tensor, *, from_end: bool
) -> None:
    """Compute the states of all blocks, and write these states to `states`.

    All tensors have the shape (·, block, step, H). If steps are counted in the direction of the
    recurrence, the coefficient j in `links` multiplies state j to compute state j + 1.
    """
    products = torch.empty_like(links, memory_format=torch.contiguous_format)
    x, b, a, exact, p = (
        _in_order(tensor.unbind(2), from_end)
        for tensor in (states, values, rounded, links, products)
    )
    x[0].copy_(b[0])
    # The first factor of a block's product p is the coefficient that multiplies the last state of
    # the previous block.
    p[0].copy_(exact[-1].roll(-1 if from_end else 1, dims=1))
    for step in range(1, len(x)):
        torch.addcmul(b[step], a[step - 1], x[step - 1], out=x[step])
        torch.mul(exact[step - 1], p[step - 1], out=p[step])
    ends, whole, block_states, block_products = (
        _in_order(tensor.unbind(1), from_end)
        for tensor in (x[-1].to(links.dtype), p[-1], states, products.to(states.dtype))
    )
    entering = ends[0]
    for block in range(1, len(ends)):
        into = entering.to(states.dtype).unsqueeze(1)
        # `ends` may share memory with `block_states`, so `ends` is read before these states change.
        entering = torch.addcmul(ends[block], whole[block], entering)
        block_states[block].addcmul_(block_products[block], into)


def _blocks(steps: Tensor, whole: int, size: int, from_end: bool) -> Tensor:
    """The first `whole` steps of the recurrence, as a view of shape (·, block, step, H)."""
    part = steps[:, -whole:] if from_end else steps[:, :whole]
    return part.view(len(steps), -1, size, steps.shape[-1])


def _in_order(views: Sequence[Tensor], from_end: bool) -> Sequence[Tensor]:
    return views[::-1] if from_end else views
