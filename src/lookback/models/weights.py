"""Initialisation of the weight matrices that read an input, by the recipe's setting `input`."""

import torch
from torch import Tensor, nn

from lookback.models.base import Input


@torch.no_grad()
def fill(matrix: Tensor, distribution: Input) -> None:
    """Fill a matrix (out, in), or a convolution's kernel (out, in, taps), with random numbers.

    Distributions: "xavier_uniform" [glorot2010]; "normal", N(0, 0.001²) [le2015]; "uniform",
    U(±1/√fan-in), the default of torch's layers.
    """
    if distribution == "xavier_uniform":
        nn.init.xavier_uniform_(matrix)
    elif distribution == "normal":
        nn.init.normal_(matrix, std=0.001)
    else:
        bound = matrix[0].numel() ** -0.5
        nn.init.uniform_(matrix, -bound, bound)


@torch.no_grad()
def fill_linear(linear: nn.Linear, distribution: Input, blocks: int = 1) -> None:
    """Draw each matrix in `linear.weight` separately, and set the bias to zero.

    The argument `blocks` is the number of matrices in `linear.weight`, for example one per gate.
    """
    for block in linear.weight.chunk(blocks):
        fill(block, distribution)
    nn.init.zeros_(linear.bias)
