"""Minimal gated recurrent unit [feng2024], a GRU whose gates do not read the state.

z_t = σ(W_z x_t + b_z)                  update gate, the share of the candidate
h̃_t = g(W_h x_t + b_h)                  candidate; minimal.py defines g
h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ h̃_t   hidden state

The equations are from section 3.1 and appendix B of [feng2024]. A minGRU has no forget gate, so a
numeric forget bias of a recipe has no effect (as in a GRU), and all biases start at 0. The forget
bias `chrono` sets b_z, because the factor 1 - z_t keeps the state as a forget gate does.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lookback.models.base import Initialisation
from lookback.models.minimal import CellValues, MinimalModel, positive


class MinGRU(MinimalModel):
    """State «hidden»; gates «update» (z, the share of the candidate) and «candidate»."""

    gates = ("update", "candidate")

    def cell(self, *blocks: Float[Tensor, "*shape hidden"]) -> CellValues:
        """The coefficients a = 1 - z and b = z ⊙ h̃ of the recurrence, and the gates by name."""
        k, candidate = blocks
        z, h = torch.sigmoid(k), positive(candidate)
        return 1 - z, z * h, {"update": z, "candidate": h}

    def log_kept(
        self, gate: str, values: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"] | None:
        """The logarithm ln(1 - z) if `gate` is the update gate z, and None for the candidate."""
        return torch.log1p(-values) if gate == "update" else None

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """Initialise as in `MinimalModel`.

        The forget bias `chrono` also sets b_z = -b_f, where `forget_biases` draws b_f.
        """
        super().initialise(initialisation)
        if initialisation.forget_bias == "chrono":
            for linear in (*self.from_input, *self.from_input_reverse):
                assert isinstance(linear, nn.Linear)
                linear.bias.chunk(2)[0].copy_(-initialisation.forget_biases(self.hidden_size))
