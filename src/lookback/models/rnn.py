"""Elman network [elman1990]: h_t = f(W_x x_t + b_x + W_h h_{t-1} + b_h), with f = tanh or ReLU.

With f = ReLU and W_h initialised to the identity, the network is the IRNN of [le2015]. Layer norm
and recurrent dropout are in recurrent_layer.py.
"""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lookback.errors import UserError
from lookback.kernels.rnn import RELU, TANH
from lookback.models.recurrent import Gates, Parts, RecurrentModel
from lookback.models.recurrent_layer import Layer

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
        layer_norm: bool,
        recurrent_dropout: float,
    ) -> None:
        if nonlinearity not in _FUNCTIONS:
            raise UserError(f"The model's `nonlinearity` is {nonlinearity!r}. Choose tanh or relu.")
        kernel = partial(nn.RNN, nonlinearity=nonlinearity)
        super().__init__(
            kernel,
            TANH if nonlinearity == "tanh" else RELU,
            features,
            hidden_size,
            layers,
            dropout,
            bias,
            bidirectional,
            layer_norm,
            recurrent_dropout,
        )
        self.nonlinearity = nonlinearity

    def cell(
        self, from_input: Float[Tensor, "batch hidden"], state: Parts, layer: Layer
    ) -> tuple[Parts, Gates]:
        """The next hidden state h_t (B, H), and an empty dictionary of gates."""
        return (_FUNCTIONS[self.nonlinearity](layer.summed(from_input, state[0])),), {}
