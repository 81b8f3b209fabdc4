"""Gated recurrent unit.

r_t = σ(W_xr x_t + b_xr + W_hr h_{t-1} + b_hr)              reset gate
z_t = σ(W_xz x_t + b_xz + W_hz h_{t-1} + b_hz)              update gate
n_t = tanh(W_xn x_t + b_xn + r_t ⊙ (W_hn h_{t-1} + b_hn))   candidate, `reset` "after"
    = tanh(W_xn x_t + b_xn + W_hn (r_t ⊙ h_{t-1}) + b_hn)   candidate, `reset` "before"
h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}                       hidden state

The original paper [cho2014] resets the state before the product with W_hn. torch and cuDNN reset
after the product, which is faster. A GRU has no forget gate, so a numeric forget bias of a recipe
has no effect, and all biases start at 0. The forget bias `chrono` sets b_xz, because the update
gate z_t keeps the state as a forget gate does.

With `bias` "single", all b_h are zero: "before" then has the parameters of Keras' GRU with
`reset_after=False`, and "after" those of cuDNN's mode CUDNN_RNN_SINGLE_INP_BIAS. Keras' own default
is "after" with both biases. Layer norm and recurrent dropout are in recurrent_layer.py.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lookback.kernels.gru import KERNEL
from lookback.models.base import Initialisation
from lookback.models.recurrent import Gates, Parts, RecurrentModel
from lookback.models.recurrent_layer import Layer


class GRU(RecurrentModel):
    """State «hidden»; gates «reset», «update» and «candidate»."""

    keeping = "update"
    normed_blocks = (2, 1)

    def __init__(
        self,
        features: int,
        hidden_size: int,
        layers: int,
        dropout: float,
        reset: Literal["after", "before"],
        bias: Literal["double", "single"],
        bidirectional: bool,
        layer_norm: bool,
        recurrent_dropout: float,
    ) -> None:
        super().__init__(
            nn.GRU,
            KERNEL if reset == "after" else None,
            features,
            hidden_size,
            layers,
            dropout,
            bias,
            bidirectional,
            layer_norm,
            recurrent_dropout,
        )
        self.reset = reset

    def cell(
        self, from_input: Float[Tensor, "batch blocks"], state: Parts, layer: Layer
    ) -> tuple[Parts, Gates]:
        """The next hidden state h_t and the gates, each of shape (B, H)."""
        (h,) = state
        x_rz, x_n = from_input.tensor_split([2 * self.hidden_size], dim=1)
        gates, candidate = slice(2 * self.hidden_size), slice(2 * self.hidden_size, None)
        r, z = torch.sigmoid(x_rz + layer.from_state(h, gates)).chunk(2, dim=1)
        if self.reset == "after":
            n = torch.tanh(x_n + r * layer.from_state(h, candidate))
        else:
            n = torch.tanh(x_n + layer.from_state(r * h, candidate))
        return ((1 - z) * n + z * h,), {"reset": r, "update": z, "candidate": n}

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """Initialise as in `RecurrentModel`.

        The forget bias `chrono` also sets the bias b_xz of the update gate.
        """
        super().initialise(initialisation)
        if initialisation.forget_bias == "chrono":
            for _, _, b_x, _ in self.kernel.all_weights:
                b_x.chunk(3)[1].copy_(initialisation.forget_biases(self.hidden_size))
