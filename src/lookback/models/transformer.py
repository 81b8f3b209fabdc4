"""Transformer encoder, normalised before each sublayer.

z_0 = W_e x + b_e + P,  P[t, 2i] = sin(t / 10000^(2i/H)),  P[t, 2i+1] = cos(t / 10000^(2i/H))
z_{l+1} and the feature: transformer_layer.py

Vaswani et al. 2017, "Attention is all you need". With rotary positions there is no P: each layer
turns its queries and keys by their steps (transformer_layer.py). With learned positions P is a
table of weights, a row a step, and there is no step past its last row; it starts at N(0, 0.02²), as
in Radford et al. 2018, "Improving language understanding by generative pre-training". A linear map
of the input stands in the place of the paper's scaled word embedding. Dropout is where the paper
(5.4) has it: on z_0 and on each sublayer.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lookback.errors import NotApplicable, UserError
from lookback.models.base import Initialisation, SequenceModel, Trace
from lookback.models.sizes import require_dropout, require_heads
from lookback.models.transformer_layer import TransformerStack, angles
from lookback.runtime.settings import require_positive


class Transformer(SequenceModel):
    """Every step sees all steps of its sequence, or, where `causal`, those up to itself.

    States «hidden/l» are z_{l+1}, before the last LN.
    """

    def __init__(
        self,
        features: int,
        hidden_size: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        causal: bool,
        positions: Literal["sinusoidal", "rotary", "learned"],
        longest: int,
    ) -> None:
        super().__init__()
        require_heads(hidden_size, heads)
        require_positive("model", layers=layers, feedforward=feedforward, longest=longest)
        require_dropout(dropout)
        if positions == "rotary" and hidden_size // heads % 2:
            raise UserError(
                f"The model's `positions: rotary` turns pairs, but `hidden_size` {hidden_size} "
                f"leaves each of {heads} heads {hidden_size // heads}. "
                f"Make it {hidden_size + heads}, or change `heads`."
            )
        self.enter = nn.Linear(features, hidden_size)
        self.drop = nn.Dropout(dropout)
        self.stack = TransformerStack(
            hidden_size,
            layers,
            heads,
            feedforward,
            dropout,
            causal=causal,
            rotary=positions == "rotary",
        )
        self.positions = positions
        if positions == "learned":
            self.table = nn.Parameter(torch.zeros(longest, hidden_size))
        self.output_size = hidden_size

    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """Features at the queries, by the fused kernel."""
        features: Tensor = self.stack(self._positioned(inputs), lengths, query)
        return features

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The same with every weight written out; `heads` and `attention` are the last layer's.

        They say where the last layer looks, among states that the layers below have mixed.
        """
        with torch.set_grad_enabled(differentiable):
            features, layers, heads = self.stack.opened(self._positioned(inputs), lengths, query)
            states = {f"hidden/{number}": z for number, z in enumerate(layers)}
            path = {name: [state] for name, state in states.items()}
            return Trace(features, states, attention=heads.mean(dim=1), heads=heads, path=path)

    def initialise(self, initialisation: Initialisation) -> None:
        """Matrices xavier_uniform, biases zero, LN at the identity; nothing here is recurrent.

        Raises UserError where the task is longer than the table of learned positions.
        """
        nn.init.xavier_uniform_(self.enter.weight)
        nn.init.zeros_(self.enter.bias)
        self.stack.initialise()
        if self.positions == "learned":
            nn.init.normal_(self.table, std=0.02)
            if initialisation.length and initialisation.length > (longest := len(self.table)):
                raise UserError(
                    f"The model's `positions: learned` has {longest} positions, but the task's "
                    f"sequences have up to {initialisation.length} steps. "
                    f"Set its `longest` to {initialisation.length}."
                )

    def attention_by_layer(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> list[Float[Tensor, "batch head query time"]]:
        """The weights at the queries, a tensor a layer."""
        return self.stack.attention_by_layer(self._positioned(inputs), lengths, query)

    def _positioned(
        self, inputs: Float[Tensor, "batch time feature"]
    ) -> Float[Tensor, "batch time hidden"]:
        entered = self.enter(inputs)
        if self.positions == "sinusoidal":
            entered = entered + sinusoids(entered)
        if self.positions == "learned":
            entered = entered + self._learned(entered.shape[1])
        dropped: Tensor = self.drop(entered)
        return dropped

    def _learned(self, time: int) -> Float[Tensor, "time hidden"]:
        if time > (longest := len(self.table)):
            raise NotApplicable(
                f"a transformer that learned {longest} positions has none for step {time}"
            )
        return self.table[:time]


def sinusoids(like: Float[Tensor, "batch time hidden"]) -> Float[Tensor, "time hidden"]:
    """P for as many steps and as wide as `like`: made anew, so that no length is too long."""
    time, width = like.shape[1:]
    angle = angles(torch.arange(time, device=like.device), width, like.dtype)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]
