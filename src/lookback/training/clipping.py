"""Gradient clipping."""

from torch import Tensor, nn


def clip_gradient(weights: list[nn.Parameter], largest: float | None) -> Tensor:
    """Scale the gradient of `weights` down to norm `largest` or less ([pascanu2013], section 3.2).

    Returns the norm of the gradient before clipping. If `largest` is None, the gradient is not
    clipped.
    """
    if largest is not None:
        return nn.utils.clip_grad_norm_(weights, largest)
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    return nn.utils.get_total_norm(gradients)
