"""Transformer encoder, normalised before each sublayer.

z_0 = W_e x + b_e + P,  P[t, 2i] = sin(t / 10000^(2i/H)),  P[t, 2i+1] = cos(t / 10000^(2i/H))
y_l = z_l + MultiHead(LN(z_l)),  head_j = softmax(Q_j K_jᵀ / √d) V_j,  d = H / heads
z_{l+1} = y_l + W_2 max(0, W_1 LN(y_l) + b_1) + b_2
feature = LN(z_L) at the query

Vaswani et al. 2017, "Attention is all you need"; the place of LN: Xiong et al. 2020, "On layer
normalization in the transformer architecture". A linear map of the input stands in the place of the
paper's scaled word embedding. Dropout is where the paper (5.4) has it: on z_0 and on each sublayer.
"""

from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lookback.errors import Mistake
from lookback.models.base import Initialisation, SequenceModel, Trace, at_queries


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
        dropout: float = 0.0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        if hidden_size % heads:
            raise Mistake(
                f"The transformer's `hidden_size` {hidden_size} cannot be shared out among "
                f"{heads} heads. Make it {-(-hidden_size // heads) * heads}, or change `heads`."
            )
        self.enter = nn.Linear(features, hidden_size)
        self.drop = nn.Dropout(dropout)
        self.stack = nn.ModuleList(
            TransformerLayer(hidden_size, heads, feedforward, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.causal = causal
        self.output_size = hidden_size

    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """Features at the queries; the last layer computes the rows of the queries alone."""
        z = self._positioned(inputs)
        *inner, last = list(self.stack)
        for layer in inner:
            z = layer(z, z, self._visible(lengths, self._steps(z), inputs.shape[1]))
        rows = query.clamp(min=0)
        z = last(at_queries(z, query), z, self._visible(lengths, rows, inputs.shape[1]))
        features: Tensor = self.norm(z)
        return features

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The same with every weight written out; `attention` is the last layer's, mean over heads.

        It says where the last layer looks, among states that the layers below have mixed.
        """
        states = dict[str, Tensor]()
        with torch.set_grad_enabled(differentiable):
            z = self._positioned(inputs)
            visible = self._visible(lengths, self._steps(z), inputs.shape[1])
            for number, layer in enumerate(cast("list[TransformerLayer]", self.stack)):
                z, weights = layer.opened(z, visible)
                states[f"hidden/{number}"] = z
            attention = at_queries(weights.mean(dim=1), query)
            path = {name: [state] for name, state in states.items()}
            features = at_queries(self.norm(z), query)
        return Trace(features, states, attention=attention, path=path)

    def initialise(self, initialisation: Initialisation) -> None:
        """Matrices xavier_uniform, biases zero, LN at the identity; nothing here is recurrent."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()

    def _positioned(
        self, inputs: Float[Tensor, "batch time feature"]
    ) -> Float[Tensor, "batch time hidden"]:
        entered = self.enter(inputs)
        dropped: Tensor = self.drop(entered + sinusoids(entered))
        return dropped

    @staticmethod
    def _steps(z: Tensor) -> Int[Tensor, "1 time"]:
        return torch.arange(z.shape[1], device=z.device).unsqueeze(0)

    def _visible(
        self, lengths: Int[Tensor, " batch"], rows: Int[Tensor, "_ row"], time: int
    ) -> Bool[Tensor, "batch 1 _ time"]:
        """Which steps each row may look at, for all heads; `rows` are the rows' own steps."""
        step = torch.arange(time, device=lengths.device)
        visible = (step < lengths.unsqueeze(1)).unsqueeze(1)
        if self.causal:
            visible = visible & (step <= rows.unsqueeze(-1))
        return visible.unsqueeze(1)


class TransformerLayer(nn.Module):
    """Attention over steps, then a feed-forward net at each step, both added to what came in."""

    def __init__(self, hidden_size: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(hidden_size)
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.join = nn.Linear(hidden_size, hidden_size)
        self.norm_feedforward = nn.LayerNorm(hidden_size)
        self.widen = nn.Linear(hidden_size, feedforward)
        self.narrow = nn.Linear(feedforward, hidden_size)
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        rows: Float[Tensor, "batch row hidden"],
        steps: Float[Tensor, "batch time hidden"],
        visible: Bool[Tensor, "batch 1 _ time"],
    ) -> Float[Tensor, "batch row hidden"]:
        """The next z of some rows, looking at all visible steps, by the fused kernel."""
        q, k, v = self._projected(rows, steps)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        return self._added(rows, attended)

    def opened(
        self, steps: Float[Tensor, "batch time hidden"], visible: Bool[Tensor, "batch 1 _ time"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch head time time"]]:
        """The next z of all steps, and each head's weights."""
        q, k, v = self._projected(steps, steps)
        scores = q @ k.mT / q.shape[-1] ** 0.5
        weights = scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)
        return self._added(steps, weights @ v), weights

    def _projected(self, rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the rows, keys and values of the steps, each (B, heads, ·, d)."""
        asking, asked = self.norm_attention(rows), self.norm_attention(steps)
        q, k, v = (
            projection.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query(asking), self.key(asked), self.value(asked))
        )
        return q, k, v

    def _added(self, rows: Tensor, attended: Tensor) -> Tensor:
        y = rows + self.drop(self.join(attended.transpose(1, 2).flatten(2)))
        wide = functional.relu(self.widen(self.norm_feedforward(y)))
        added: Tensor = y + self.drop(self.narrow(wide))
        return added


def sinusoids(like: Float[Tensor, "batch time hidden"]) -> Float[Tensor, "time hidden"]:
    """P for as many steps and as wide as `like`: made anew, so that no length is too long."""
    time, width = like.shape[1:]
    even = torch.arange(0, width, 2, device=like.device, dtype=like.dtype)
    step = torch.arange(time, device=like.device, dtype=like.dtype)
    angle = step.unsqueeze(1) * 10000 ** (-even / width)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]
