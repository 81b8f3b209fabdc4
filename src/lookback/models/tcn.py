"""Temporal convolutional network, a stack of residual blocks with dilated causal convolutions.

z_0 = x
F_l(z)_t = Σ_{i<k} W_i z_{t - 2^l i} + b        kernel of k taps, 2^l steps apart
a_l = drop(max(0, F_l(z_l))),  c_l = drop(max(0, F'_l(a_l)))
z_{l+1} = max(0, c_l + P z_l)                   P = I, or a 1 × 1 convolution if widths differ
feature = z_L at the query

The network follows section 3 of [bai2018]. Each kernel W is weight-normalised [salimans2016] as
W = g v / ‖v‖, with one gain g and one norm ‖v‖ per output channel. Dropout sets whole channels to
zero (spatial dropout). With L blocks, a feature depends on exactly 1 + 2 (k - 1)(2^L - 1) input
steps, its receptive field.
"""

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lookback.models.base import Initialisation, SequenceModel, Trace, at_queries
from lookback.models.sizes import require_dropout
from lookback.models.weights import fill
from lookback.runtime.settings import require_positive


class TCN(SequenceModel):
    """Temporal convolutional network of `layers` residual blocks with `hidden_size` channels.

    The convolutions are causal, so no output depends on later steps. In a trace, the state
    «hidden/l» is the output z_{l+1} of residual block l.
    """

    def __init__(
        self, features: int, hidden_size: int, layers: int, kernel_size: int, dropout: float
    ) -> None:
        super().__init__()
        require_positive("model", hidden_size=hidden_size, layers=layers, kernel_size=kernel_size)
        require_dropout(dropout)
        widths = [features] + [hidden_size] * layers
        self.blocks = nn.ModuleList(
            ResidualBlock(width, hidden_size, kernel_size, 2**layer, dropout)
            for layer, width in enumerate(widths[:-1])
        )
        self.output_size = hidden_size

    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """The output of the last block at the queries."""
        z = inputs.mT
        for block in self.blocks:
            z = block(z)
        return at_queries(z.mT, query)

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The features at the queries, and the output of each residual block."""
        states = dict[str, Tensor]()
        with torch.set_grad_enabled(differentiable):
            z = inputs
            for layer, block in enumerate(self.blocks):
                z = block(z.mT).mT
                states[f"hidden/{layer}"] = z
            path = {name: [state] for name, state in states.items()}
            return Trace(at_queries(z, query), states, path=path)

    def initialise(self, initialisation: Initialisation) -> None:
        """Draw kernels W and P by the recipe's `input`, set gains g to ‖v‖, and set biases to zero.

        The code of [bai2018] draws the kernels from N(0, 0.01²), but the paper names no
        initialisation.
        """
        for block in cast("list[ResidualBlock]", list(self.blocks)):
            block.initialise(initialisation)


class ResidualBlock(nn.Module):
    """Two causal convolutions with equal dilation, and a residual connection.

    A block maps an input of shape (B, F, T) to an output of shape (B, H, T).
    """

    def __init__(
        self, features: int, hidden_size: int, kernel_size: int, dilation: int, dropout: float
    ) -> None:
        super().__init__()
        self.first = CausalConvolution(features, hidden_size, kernel_size, dilation)
        self.second = CausalConvolution(hidden_size, hidden_size, kernel_size, dilation)
        self.match = nn.Conv1d(features, hidden_size, 1) if features != hidden_size else None
        self.drop = nn.Dropout1d(dropout)

    def forward(self, z: Float[Tensor, "batch feature time"]) -> Float[Tensor, "batch hidden time"]:
        """The block's output z_{l+1} for the input z_l."""
        inner = z
        for convolution in (self.first, self.second):
            inner = self.drop(functional.relu(convolution(inner)))
        return functional.relu(inner + (z if self.match is None else self.match(z)))

    def initialise(self, initialisation: Initialisation) -> None:
        """Initialise the weights as `TCN.initialise` describes."""
        for convolution in (self.first, self.second):
            fill(convolution.direction, initialisation.input)
            with torch.no_grad():
                convolution.magnitude.copy_(convolution.direction.flatten(1).norm(dim=1))
            nn.init.zeros_(convolution.bias)
        if self.match is not None:
            assert self.match.bias is not None
            fill(self.match.weight, initialisation.input)
            nn.init.zeros_(self.match.bias)


class CausalConvolution(nn.Module):
    """The causal convolution F, whose `kernel_size` taps are `dilation` steps apart.

    The last tap reads the current step, and all other taps read earlier steps.
    """

    def __init__(self, features: int, hidden_size: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.empty(hidden_size, features, kernel_size))
        self.magnitude = nn.Parameter(torch.empty(hidden_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.dilation = dilation

    def forward(self, z: Float[Tensor, "batch feature time"]) -> Float[Tensor, "batch hidden time"]:
        """The output F(z), with as many steps as z.

        The convolution reads zeros before the first step of z.
        """
        norm = self.direction.flatten(1).norm(dim=1)
        weight = (self.magnitude / norm)[:, None, None] * self.direction
        reach = (weight.shape[-1] - 1) * self.dilation
        padded = functional.pad(z, (reach, 0))
        return functional.conv1d(padded, weight, self.bias, dilation=self.dilation)
