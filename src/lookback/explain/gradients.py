"""Gradients of the explained answer with respect to the embedded inputs."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import explained_answer, within
from lookback.models.network import Network


def gradient(
    model: Network,
    batch: Batch,
    output: Int[Tensor, " batch"],
    inputs: Float[Tensor, "batch time feature"],
) -> Float[Tensor, "batch time feature"]:
    """∂(answer `output` of each sequence)/∂`inputs`, which take the place of the batch's inputs.

    The gradient is zero past the length of each sequence. The gradients of the weights stay
    unchanged.
    """
    with torch.enable_grad():
        point = inputs.detach().requires_grad_()
        explained = explained_answer(model, batch, output, point).sum()
        (slope,) = torch.autograd.grad(explained, point)
    return slope.masked_fill(~within(batch.lengths, inputs.shape[1]).unsqueeze(-1), 0.0)
