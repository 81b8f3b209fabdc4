"""Minimal long short-term memory: gates that do not look at the state, no cell apart from it.

f_t = σ(W_f x_t + b_f)                  forget gate
i_t = σ(W_i x_t + b_i)                  input gate
h̃_t = g(W_h x_t + b_h)                  candidate; g in minimal.py
f'_t = f_t / (f_t + i_t),  i'_t = i_t / (f_t + i_t)
h_t = f'_t ⊙ h_{t-1} + i'_t ⊙ h̃_t       hidden state

Feng et al. 2024, "Were RNNs all we needed?", section 3.2 and appendix B. A recipe's forget bias is
b_f. The gates share out a whole, so a forget bias of 1 keeps 0.59 of the state, not σ(1) = 0.73.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lookback.models.base import Initialisation
from lookback.models.minimal import MinimalModel, Opened, positive


class MinLSTM(MinimalModel):
    """State «hidden»; gates «forget» and «input», f' and i' that sum to 1, and «candidate»."""

    gates = ("forget", "input", "candidate")
    keeping = "forget"

    def cell(self, *blocks: Float[Tensor, "*shape hidden"]) -> Opened:
        """f', i' ⊙ h̃, and the gates; f' = σ(log f - log i), so that no quotient is 0 / 0."""
        f, i, candidate = blocks
        # -log σ(x) = softplus(-x), which is the quicker of the two here.
        kept = torch.sigmoid(functional.softplus(-i) - functional.softplus(-f))
        new, h = 1 - kept, positive(candidate)
        return kept, new * h, {"forget": kept, "input": new, "candidate": h}

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """As every minimal model; then b_f is the forget bias; by `chrono` also b_i = -b_f.

        f' = σ(log f - log i) is then σ(b_f), as the time constants of `chrono` ask.
        """
        super().initialise(initialisation)
        for linear in (*self.from_input, *self.from_input_reverse):
            assert isinstance(linear, nn.Linear)
            f, i, _ = linear.bias.chunk(3)
            f.copy_(initialisation.forget_biases(self.hidden_size))
            if initialisation.forget_bias == "chrono":
                i.copy_(-f)
