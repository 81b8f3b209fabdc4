"""Jacobians J_t = ∂s_t/∂s_{t-1} of a recurrent network, with s_t the whole state after step t.

The whole state s_t is everything that step t passes to step t + 1. For an LSTM, s_t holds h and c
of each layer. For an LRU, s_t holds the real and the imaginary part of each mode. The chain rule
∂s_T/∂s_t = J_T … J_{t+1} holds only if s_t is the whole state.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lookback.errors import NotApplicable
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network

STEPS_AT_ONCE = 16  # Number of Jacobians computed together, few enough to fit in the CPU cache.
# Maximum number of Jacobian entries computed together, to limit the memory for large states.
NUMBERS_AT_ONCE = 4_194_304


def recurrence(network: Network) -> RecurrentEncoder:
    """The recurrent encoder of a network, which may be the inner encoder of an attention model.

    Raises NotApplicable if the network has no recurrent encoder or if that encoder is
    bidirectional.
    """
    encoder = network.encoder
    is_recurrent = isinstance(encoder, RecurrentEncoder)
    recurrent = encoder if is_recurrent else getattr(encoder, "encoder", None)
    if not isinstance(recurrent, RecurrentEncoder):
        raise NotApplicable(f"a {type(encoder).__name__} carries no state from step to step")
    if recurrent.bidirectional:
        raise NotApplicable(f"a bidirectional {type(recurrent).__name__} has no single step")
    return recurrent


@torch.no_grad()
def trajectory(
    encoder: RecurrentEncoder, inputs: Float[Tensor, "time feature"]
) -> Float[Tensor, "after state"]:
    """The T + 1 states of one sequence, from the initial state to s_T, computed with `step`."""
    state = encoder.initial_state(1)
    states = [state]
    for input in inputs.unbind(0):
        _, state = encoder.step(input.unsqueeze(0), state)
        states.append(state)
    return torch.cat(states)


def step_jacobians(
    encoder: RecurrentEncoder,
    inputs: Float[Tensor, "time feature"],
    before: Float[Tensor, "time state"],
) -> Float[Tensor, "time state state"]:
    """Jacobian of each step, computed from the input of the step and the state before the step.

    Row i of a Jacobian is the gradient of state unit i. All steps form one batch with independent
    rows, so one backward pass per state unit covers all steps. PyTorch runs the backward passes of
    all state units together.
    """
    before = before.detach().requires_grad_()
    with torch.enable_grad():
        units = encoder.step(inputs, before)[1].sum(dim=0)
    one_hot = torch.eye(len(units), dtype=units.dtype)
    (rows,) = torch.autograd.grad(units, before, one_hot, is_grads_batched=True)
    return rows.transpose(0, 1)


def jacobians(
    encoder: RecurrentEncoder,
    inputs: Float[Tensor, "time feature"],
    states: Float[Tensor, "after state"],
    *,
    backwards: bool = False,
) -> Iterator[Float[Tensor, "state state"]]:
    """Yield the Jacobians J_1 to J_T along a trajectory, or J_T to J_1 if `backwards` is true.

    To limit the memory, the function holds the Jacobians of only a few steps at a time.
    """
    size = max(1, min(STEPS_AT_ONCE, NUMBERS_AT_ONCE // states.shape[1] ** 2))
    starts = list(range(0, len(inputs), size))
    for start in reversed(starts) if backwards else starts:
        chunk = slice(start, start + size)
        of_chunk = step_jacobians(encoder, inputs[chunk], states[:-1][chunk]).unbind(0)
        yield from reversed(of_chunk) if backwards else of_chunk


def log_spectral_norms(
    backward_jacobians: Iterable[Float[Tensor, "state state"]], distances: Sequence[int]
) -> Float[Tensor, " distance"]:
    """Natural logarithm of the spectral norm ‖J_T … J_{T-d+1}‖₂ for each distance d.

    `backward_jacobians` are J_T, J_{T-1}, …, and `distances` are in ascending order. At distance 0,
    the logarithm is ln 1 = 0. A logarithm is −∞ if the product of the Jacobians is zero. A
    logarithm is NaN if there are fewer than d Jacobians, or if one of the d Jacobians is not
    finite. The product of the Jacobians is rescaled at each step, so that it stays within the range
    of float64.
    """
    log_norms = torch.full((len(distances),), torch.nan, dtype=torch.float64)
    column = {distance: index for index, distance in enumerate(distances)}
    if 0 in column:
        log_norms[column[0]] = 0.0
    product, scale = None, 0.0
    for distance, jacobian in enumerate(backward_jacobians, start=1):
        product = jacobian if product is None else product @ jacobian
        largest = product.abs().max()
        if not largest.isfinite():
            break
        if largest > 0:
            product, scale = product / largest, scale + float(largest.log())
        if distance in column:
            norm = torch.linalg.matrix_norm(product, ord=2)
            log_norms[column[distance]] = scale + norm.double().log()
        if distance >= distances[-1]:
            break
    return log_norms
