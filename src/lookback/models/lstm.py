"""Long short-term memory [hochreiter1997] with the forget gate of [gers2000].

i_t = σ(W_xi x_t + b_xi + W_hi h_{t-1} + b_hi)       input gate
f_t = σ(W_xf x_t + b_xf + W_hf h_{t-1} + b_hf)       forget gate
g_t = tanh(W_xg x_t + b_xg + W_hg h_{t-1} + b_hg)    candidate
o_t = σ(W_xo x_t + b_xo + W_ho h_{t-1} + b_ho)       output gate
c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t                      cell
h_t = o_t ⊙ tanh(c_t)                                hidden state

A forget bias of 1 is recommended by [jozefowicz2015]. Layer norm and recurrent dropout are in
recurrent_layer.py.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lookback.kernels.lstm import KERNEL
from lookback.models.base import Initialisation
from lookback.models.recurrent import Gates, Parts, RecurrentModel
from lookback.models.recurrent_layer import Layer


class LSTM(RecurrentModel):
    """States «hidden» and «cell»; gates «input», «forget», «candidate» and «output»."""

    parts = ("hidden", "cell")

    keeping = "forget"
    normed_blocks = (4,)

    def __init__(
        self,
        features: int,
        hidden_size: int,
        layers: int,
        dropout: float,
        bias: Literal["double", "single"],
        bidirectional: bool,
        layer_norm: bool,
        recurrent_dropout: float,
    ) -> None:
        super().__init__(
            nn.LSTM,
            KERNEL,
            features,
            hidden_size,
            layers,
            dropout,
            bias,
            bidirectional,
            layer_norm,
            recurrent_dropout,
        )

    def cell(
        self, from_input: Float[Tensor, "batch blocks"], state: Parts, layer: Layer
    ) -> tuple[Parts, Gates]:
        """The next states h_t and c_t, and the gates, each of shape (B, H)."""
        h, c = state
        i, f, g, o = (from_input + layer.from_state(h)).chunk(4, dim=1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        c = f * c + i * g
        h = o * torch.tanh(layer.read(c))
        return (h, c), {"input": i, "forget": f, "candidate": g, "output": o}

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """Initialise as in `RecurrentModel`, then set b_xf to the recipe's forget bias.

        The bias b_hf stays zero. The forget bias `chrono` also sets b_xi = -b_xf, so that
        σ(b_xi) = 1 - σ(b_xf). For a zero input and a zero state, the input gate is then closed as
        far as the forget gate is open.
        """
        super().initialise(initialisation)
        for _, _, b_x, _ in self.kernel.all_weights:
            bias = initialisation.forget_biases(self.hidden_size)
            i, f, _, _ = b_x.chunk(4)
            f.copy_(bias)
            if initialisation.forget_bias == "chrono":
                i.copy_(-bias)
