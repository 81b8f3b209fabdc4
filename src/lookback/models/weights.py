"""How a matrix that reads an input starts, by the recipe."""

import torch
from torch import Tensor, nn

from lookback.models.base import Input


@torch.no_grad()
def fill(matrix: Tensor, way: Input) -> None:
    """Draw a matrix (out, in), or a convolution's taps (out, in, kernel), in place.

    "xavier_uniform": Glorot and Bengio 2010; "normal": N(0, 0.001²), Le et al. 2015; "uniform":
    U(±1/√fan-in), torch's own for a layer.
    """
    if way == "xavier_uniform":
        nn.init.xavier_uniform_(matrix)
    elif way == "normal":
        nn.init.normal_(matrix, std=0.001)
    else:
        bound = matrix[0].numel() ** -0.5
        nn.init.uniform_(matrix, -bound, bound)


@torch.no_grad()
def fill_linear(linear: nn.Linear, way: Input, blocks: int = 1) -> None:
    """Each of `blocks` gates' matrices by itself, and a bias of zero."""
    for block in linear.weight.chunk(blocks):
        fill(block, way)
    nn.init.zeros_(linear.bias)
