"""Elman network [elman1990]: h_t = f(W_x x_t + b_x + W_h h_{t-1} + b_h), with f = tanh or ReLU.

With f = ReLU and W_h initialised to the identity, the network is the IRNN of [le2015].
"""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lookback.errors import UserError
from lookback.kernels.rnn import RELU, TANH
from lookback.models.recurrent import Gates, Parts, RecurrentModel

_FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu}


class RNN(RecurrentModel):
    """An Elman network, with state «hidden» and no gates. `nonlinearity` is f: "tanh" or "relu"."""

    def __init__(
        self,
        features: int,
        hidden_size: int,
        layers: int,
        dropout: float,
        nonlinearity: str,
        bias: Literal["double", "single"],
        bidirectional: bool,
    ) -> None:
        if nonlinearity not in _FUNCTIONS:
            raise UserError(f"The model's `nonlinearity` is {nonlinearity!r}. Choose tanh or relu.")
        kernel = partial(nn.RNN, nonlinearity=nonlinearity)
        super().__init__(kernel, features, hidden_size, layers, dropout, bias, bidirectional)
        self.fused = TANH if nonlinearity == "tanh" else RELU
        self.nonlinearity = nonlinearity

    def cell(
        self,
        from_input: Float[Tensor, "batch hidden"],
        state: Parts,
        w_h: Float[Tensor, "hidden hidden"],
        b_h: Float[Tensor, " hidden"],
    ) -> tuple[Parts, Gates]:
        """The next hidden state h_t (B, H), and an empty dictionary of gates."""
        return (
            _FUNCTIONS[self.nonlinearity](from_input + functional.linear(state[0], w_h, b_h)),
        ), {}
