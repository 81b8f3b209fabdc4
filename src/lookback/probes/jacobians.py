"""How a recurrence carries a small change on: J_t = ∂s_t/∂s_{t-1}, s the whole state.

s_t is all that a step hands to the next: of an LSTM [h; c] of each layer, of an LRU the real and
the imaginary part of each mode. Nothing less has the chain rule ∂s_T/∂s_t = J_T … J_{t+1}.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lookback.errors import NotApplicable
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network

STEPS_AT_ONCE = 16  # whose Jacobians are taken together: few enough to stay in the cache
NUMBERS_AT_ONCE = 4_194_304  # in the Jacobians of these steps: bounds the memory of a wide state


def recurrence(network: Network) -> RecurrentEncoder:
    """The recurrent encoder of a network: its encoder, or the one that attention looks back over.

    Raises NotApplicable where there is none, or one of two directions.
    """
    encoder = network.encoder
    found = encoder if isinstance(encoder, RecurrentEncoder) else getattr(encoder, "encoder", None)
    if not isinstance(found, RecurrentEncoder):
        raise NotApplicable(f"a {type(encoder).__name__} carries no state from step to step")
    if found.bidirectional:
        raise NotApplicable(f"a {type(found).__name__} of two directions has no single step")
    return found


@torch.no_grad()
def trajectory(
    encoder: RecurrentEncoder, inputs: Float[Tensor, "time feature"]
) -> Float[Tensor, "after state"]:
    """The states of one sequence, by `step`: the initial state, then s_1 to s_T; T + 1 rows."""
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
    """J of each step from its input and the state before it; row i is the gradient of s_i.

    Steps stand side by side as a batch, whose rows do not see each other: one backward pass a
    state unit serves all of them, and all units' passes run as one.
    """
    before = before.detach().requires_grad_()
    with torch.enable_grad():
        units = encoder.step(inputs, before)[1].sum(dim=0)
    each = torch.eye(len(units), dtype=units.dtype)
    (rows,) = torch.autograd.grad(units, before, each, is_grads_batched=True)
    return rows.transpose(0, 1)


def jacobians(
    encoder: RecurrentEncoder,
    inputs: Float[Tensor, "time feature"],
    states: Float[Tensor, "after state"],
    *,
    backwards: bool = False,
) -> Iterator[Float[Tensor, "state state"]]:
    """J_1 to J_T along a trajectory, or J_T to J_1; a stretch of them is held at a time."""
    size = max(1, min(STEPS_AT_ONCE, NUMBERS_AT_ONCE // states.shape[1] ** 2))
    starts = list(range(0, len(inputs), size))
    for start in reversed(starts) if backwards else starts:
        stretch = slice(start, start + size)
        found = step_jacobians(encoder, inputs[stretch], states[:-1][stretch])
        yield from reversed(found.unbind(0)) if backwards else found.unbind(0)


def log_spectral_norms(
    backwards: Iterable[Float[Tensor, "state state"]], distances: Sequence[int]
) -> Float[Tensor, " distance"]:
    """Ln ‖J_T … J_{T-d+1}‖₂ at ascending distances d, from J_T, J_{T-1}, …; at 0 it is ln 1.

    −∞ where the product is zero, NaN where there are fewer Jacobians, or one is not finite. The
    product is scaled at each step, so that nothing leaves the range of float64 on the way.
    """
    found = torch.full((len(distances),), torch.nan, dtype=torch.float64)
    places = {distance: place for place, distance in enumerate(distances)}
    if 0 in places:
        found[places[0]] = 0.0
    product, scale = None, 0.0
    for distance, jacobian in enumerate(backwards, start=1):
        product = jacobian if product is None else product @ jacobian
        largest = product.abs().max()
        if not largest.isfinite():
            break
        if largest > 0:
            product, scale = product / largest, scale + float(largest.log())
        if distance in places:
            norm = torch.linalg.matrix_norm(product, ord=2)
            found[places[distance]] = scale + norm.double().log()
        if distance >= distances[-1]:
            break
    return found
