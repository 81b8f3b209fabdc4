"""Transformer encoder with layer normalisation before each sublayer [vaswani2017].

z_0 = W_e x + b_e + P,  P[t, 2i] = sin(t / 10000^(2i/H)),  P[t, 2i+1] = cos(t / 10000^(2i/H))
z_{l+1} and the feature: transformer_layer.py

The matrix P holds the sinusoidal position encodings. With rotary positions, P is not added, and
each layer rotates its queries and keys (transformer_layer.py). With learned positions, P is a table
of weights with one row per step, and sequences cannot be longer than the table. The table of
learned positions is initialised from N(0, 0.02²), as in [radford2018]. A linear map of the input
replaces the scaled word embedding of [vaswani2017]. Dropout acts on z_0 and on the output of each
sublayer, as in section 5.4 of [vaswani2017].
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
    """Transformer encoder, in which every step attends to all steps of its sequence.

    If `causal` is true, every step attends only to itself and to earlier steps. In a trace, the
    state «hidden/l» is the output z_{l+1} of layer l, without the final layer normalisation.
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
                f"The model's `positions: rotary` rotates pairs of components, but `hidden_size` "
                f"{hidden_size} gives each of {heads} heads {hidden_size // heads} components, an "
                f"odd number. Set `hidden_size` to {hidden_size + heads}, or change `heads`."
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
        """The features at the queries, computed with the fused attention kernel."""
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
        """The features, the output of every layer, and the attention weights of the last layer.

        The last layer attends to outputs of the layer below, each of which already mixes several
        input steps.
        """
        with torch.set_grad_enabled(differentiable):
            features, layers, heads = self.stack.trace(self._positioned(inputs), lengths, query)
            states = {f"hidden/{number}": z for number, z in enumerate(layers)}
            path = {name: [state] for name, state in states.items()}
            return Trace(features, states, attention=heads.mean(dim=1), heads=heads, path=path)

    def initialise(self, initialisation: Initialisation) -> None:
        """Draw matrices by xavier_uniform, set biases to zero and layer norms to the identity.

        A transformer has no recurrent weights, so it does not use the recipe's initialisation.
        Raises UserError if the task's sequences are longer than the table of learned positions.
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
                    f"Set the model's `longest` to {initialisation.length}."
                )

    def attention_by_layer(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> list[Float[Tensor, "batch head query time"]]:
        """The attention weights at the queries, one tensor per layer."""
        return self.stack.attention_by_layer(self._positioned(inputs), lengths, query)

    def _positioned(
        self, inputs: Float[Tensor, "batch time feature"]
    ) -> Float[Tensor, "batch time hidden"]:
        entered = self.enter(inputs)
        if self.positions == "sinusoidal":
            # With mixed precision, `entered` is bfloat16, in which neighbouring positions collide.
            entered = entered.to(self.enter.weight.dtype)
            entered = entered + sinusoids(entered)
        if self.positions == "learned":
            entered = entered + self._learned(entered.shape[1])
        dropped: Tensor = self.drop(entered)
        return dropped

    def _learned(self, time: int) -> Float[Tensor, "time hidden"]:
        if time > (longest := len(self.table)):
            raise NotApplicable(
                f"a transformer with {longest} learned positions has no position for step {time}"
            )
        return self.table[:time]


def sinusoids(like: Float[Tensor, "batch time hidden"]) -> Float[Tensor, "time hidden"]:
    """The sinusoidal position encodings P.

    P has as many steps and components as the tensor `like`, and its precision. P is computed for
    each call, so sequences of any length are possible.
    """
    time, width = like.shape[1:]
    angle = angles(torch.arange(time, device=like.device), width)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width].to(like.dtype)
