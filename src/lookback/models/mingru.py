"""Minimal gated recurrent unit: a GRU whose gates do not look at the state.

z_t = σ(W_z x_t + b_z)                  update gate: the share of the new
h̃_t = g(W_h x_t + b_h)                  candidate; g in minimal.py
h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ h̃_t   hidden state

Feng et al. 2024, "Were RNNs all we needed?", section 3.1 and appendix B. There is no forget gate,
so a recipe's forget bias leaves it alone, as it does the GRU: all biases start at 0; but for
`chrono`, by which 1 - z_t keeps the state as a forget gate would.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lookback.models.base import Initialisation
from lookback.models.minimal import MinimalModel, Opened, positive


class MinGRU(MinimalModel):
    """State «hidden»; gates «update» (z, the share of the new) and «candidate»."""

    gates = ("update", "candidate")

    def cell(self, *blocks: Float[Tensor, "*shape hidden"]) -> Opened:
        """1 - z, z ⊙ h̃, and the gates."""
        k, candidate = blocks
        z, h = torch.sigmoid(k), positive(candidate)
        return 1 - z, z * h, {"update": z, "candidate": h}

    def log_kept(
        self, gate: str, values: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"] | None:
        """Of 1 - z: this update gate is the share of the new."""
        return torch.log1p(-values) if gate == "update" else None

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """As every minimal model; then, by `chrono`, b_z."""
        super().initialise(initialisation)
        if initialisation.forget_bias == "chrono":
            for linear in (*self.from_input, *self.from_input_reverse):
                assert isinstance(linear, nn.Linear)
                linear.bias.chunk(2)[0].copy_(-initialisation.forget_biases(self.hidden_size))
