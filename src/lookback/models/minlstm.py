"""Minimal LSTM [feng2024], whose gates do not read the state, and which has no cell state.

f_t = σ(W_f x_t + b_f)                  forget gate
i_t = σ(W_i x_t + b_i)                  input gate
h̃_t = g(W_h x_t + b_h)                  candidate; minimal.py defines g
f'_t = f_t / (f_t + i_t),  i'_t = i_t / (f_t + i_t)
h_t = f'_t ⊙ h_{t-1} + i'_t ⊙ h̃_t       hidden state

The equations are from section 3.2 and appendix B of [feng2024]. A recipe's forget bias sets b_f.
With a zero input and a forget bias of 1, the gate f is σ(1) = 0.73, but the normalised forget gate
f' keeps 0.59 of the state.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lookback.models.base import Initialisation
from lookback.models.minimal import CellValues, MinimalModel, positive


class MinLSTM(MinimalModel):
    """State «hidden»; gates «forget» (f') and «input» (i'), which sum to 1, and «candidate»."""

    gates = ("forget", "input", "candidate")
    keeping = "forget"

    def cell(self, *blocks: Float[Tensor, "*shape hidden"]) -> CellValues:
        """The coefficients a = f' and b = i' ⊙ h̃ of the recurrence, and the gates by name.

        f' is computed as σ(log f - log i), which avoids the quotient 0 / 0.
        """
        f, i, candidate = blocks
        # softplus(-x) equals -log σ(x) and is faster to compute.
        kept = torch.sigmoid(functional.softplus(-i) - functional.softplus(-f))
        new, h = 1 - kept, positive(candidate)
        return kept, new * h, {"forget": kept, "input": new, "candidate": h}

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """Initialise as in `MinimalModel`, then set b_f to the recipe's forget bias.

        The forget bias `chrono` also sets b_i = -b_f, so that f' = σ(log f - log i) is σ(b_f) for a
        zero input, as the time constants of [tallec2018] require.
        """
        super().initialise(initialisation)
        for linear in (*self.from_input, *self.from_input_reverse):
            assert isinstance(linear, nn.Linear)
            f, i, _ = linear.bias.chunk(3)
            f.copy_(initialisation.forget_biases(self.hidden_size))
            if initialisation.forget_bias == "chrono":
                i.copy_(-f)
