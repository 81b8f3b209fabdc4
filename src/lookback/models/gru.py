"""Gated recurrent unit.

r_t = σ(W_xr x_t + b_xr + W_hr h_{t-1} + b_hr)              reset gate
z_t = σ(W_xz x_t + b_xz + W_hz h_{t-1} + b_hz)              update gate
n_t = tanh(W_xn x_t + b_xn + r_t ⊙ (W_hn h_{t-1} + b_hn))   candidate
h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}                       hidden state

Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", in the variant of
torch and cuDNN: the paper resets the state before the product, W_hn (r_t ⊙ h_{t-1}), this one
after it. There is no forget gate, so a recipe's forget bias leaves it alone: all biases start at 0;
but for `chrono`, which sets b_xz, since z_t keeps the state as a forget gate does.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lookback.models.base import Initialisation
from lookback.models.recurrent import Gates, Parts, RecurrentModel


class GRU(RecurrentModel):
    """State «hidden»; gates «reset», «update» and «candidate»."""

    def __init__(
        self, features: int, hidden_size: int, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(nn.GRU, features, hidden_size, layers, dropout)

    def cell(
        self,
        from_input: Float[Tensor, "batch blocks"],
        from_state: Float[Tensor, "batch blocks"],
        state: Parts,
    ) -> tuple[Parts, Gates]:
        """h_t and the gates, each (B, H)."""
        (h,) = state
        x_r, x_z, x_n = from_input.chunk(3, dim=1)
        h_r, h_z, h_n = from_state.chunk(3, dim=1)
        r = torch.sigmoid(x_r + h_r)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        return ((1 - z) * n + z * h,), {"reset": r, "update": z, "candidate": n}

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """As every recurrent model; then, by `chrono`, the update gate's bias b_xz."""
        super().initialise(initialisation)
        if initialisation.forget_bias == "chrono":
            for _, _, b_x, _ in self.kernel.all_weights:
                b_x.chunk(3)[1].copy_(initialisation.forget_biases(self.output_size))
