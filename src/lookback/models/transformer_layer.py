"""Self-attention over steps, then a feed-forward net at each, and a stack of such layers.

y_l = z_l + MultiHead(LN(z_l)),  head_j = softmax(Q_j K_jᵀ / √d) V_j,  d = H / heads
z_{l+1} = y_l + W_2 max(0, W_1 LN(y_l) + b_1) + b_2
feature = LN(z_L) at the query

Vaswani et al. 2017, "Attention is all you need"; the place of LN: Xiong et al. 2020, "On layer
normalization in the transformer architecture". With `rotary`, queries and keys are turned by their
own step t before the product, pair by pair: (q_{2i}, q_{2i+1}) by the angle t / 10000^(2i/d), so
that Q Kᵀ depends on how far apart two steps are and on nothing else of them. Su et al. 2021,
"RoFormer: Enhanced transformer with rotary position embedding", eq. 34.
"""

from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lookback.models.base import at_queries


class TransformerStack(nn.Module):
    """Layers, and the last LN. Every step sees all steps of its sequence.

    Where `causal`, it sees those up to itself.
    """

    def __init__(
        self,
        hidden_size: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        *,
        causal: bool,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(hidden_size, heads, feedforward, dropout, rotary=rotary)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.causal = causal

    def forward(
        self,
        z: Float[Tensor, "batch time hidden"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """Features at the queries; the last layer computes the rows of the queries alone."""
        *inner, last = list(self.layers)
        every, time = _steps(z), z.shape[1]
        for layer in inner:
            z = layer(z, z, every, self._visible(lengths, every, time))
        rows = query.clamp(min=0)
        z = last(at_queries(z, query), z, rows, self._visible(lengths, rows, time))
        features: Tensor = self.norm(z)
        return features

    def opened(
        self,
        z: Float[Tensor, "batch time hidden"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> tuple[
        Float[Tensor, "batch query hidden"],
        list[Float[Tensor, "batch time hidden"]],
        Float[Tensor, "batch head query time"],
    ]:
        """Features, each layer's z_{l+1}, and the last layer's weights at the queries by head.

        (T, T) a head is never held.
        """
        every, rows, time = _steps(z), query.clamp(min=0), z.shape[1]
        visible, asked = (self._visible(lengths, of, time) for of in (every, rows))
        states, layers = [z], cast("list[TransformerLayer]", list(self.layers))
        for layer in layers:
            states.append(layer(states[-1], states[-1], every, visible))
        heads = layers[-1].weights(at_queries(states[-2], query), states[-2], rows, asked)
        return at_queries(self.norm(states[-1]), query), states[1:], heads

    def attention_by_layer(
        self,
        z: Float[Tensor, "batch time hidden"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> list[Float[Tensor, "batch head query time"]]:
        """Each layer's weights at the queries alone: (T, T) a head is never held."""
        every, rows, time = _steps(z), query.clamp(min=0), z.shape[1]
        *inner, last = cast("list[TransformerLayer]", list(self.layers))
        asked, found = self._visible(lengths, rows, time), list[Tensor]()
        for layer in inner:
            found.append(layer.weights(at_queries(z, query), z, rows, asked))
            z = layer(z, z, every, self._visible(lengths, every, time))
        return [*found, last.weights(at_queries(z, query), z, rows, asked)]

    def initialise(self) -> None:
        """Matrices xavier_uniform, biases zero, LN at the identity; nothing here is recurrent."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()

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

    def __init__(
        self, hidden_size: int, heads: int, feedforward: int, dropout: float, *, rotary: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.rotary = rotary
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
        at: Int[Tensor, "_ row"],
        visible: Bool[Tensor, "batch 1 _ time"],
    ) -> Float[Tensor, "batch row hidden"]:
        """The next z of some rows, at the steps `at`, looking at all visible steps, fused."""
        q, k, v = self._projected(rows, steps, at)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        return self._added(rows, attended)

    def weights(
        self,
        rows: Float[Tensor, "batch row hidden"],
        steps: Float[Tensor, "batch time hidden"],
        at: Int[Tensor, "_ row"],
        visible: Bool[Tensor, "batch 1 _ time"],
    ) -> Float[Tensor, "batch head row time"]:
        """Each head's weights of some rows, at the steps `at`."""
        q, k, _ = self._projected(rows, steps, at)
        scores = q @ k.mT / q.shape[-1] ** 0.5
        weights: Tensor = scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)
        return weights

    def _projected(
        self, rows: Tensor, steps: Tensor, at: Int[Tensor, "_ row"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the rows, keys and values of the steps, each (B, heads, ·, d)."""
        asking, asked = self.norm_attention(rows), self.norm_attention(steps)
        q, k, v = (
            projection.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query(asking), self.key(asked), self.value(asked))
        )
        return (turned(q, at), turned(k, _steps(steps)), v) if self.rotary else (q, k, v)

    def _added(self, rows: Tensor, attended: Tensor) -> Tensor:
        y = rows + self.drop(self.join(attended.transpose(1, 2).flatten(2)))
        wide = functional.relu(self.widen(self.norm_feedforward(y)))
        added: Tensor = y + self.drop(self.narrow(wide))
        return added


def angles(
    steps: Int[Tensor, "*shape"], width: int, dtype: torch.dtype
) -> Float[Tensor, "*shape half"]:
    """Of step t: t / 10000^(2i/width), one for each two of `width`: no length is too long."""
    even = torch.arange(0, width, 2, device=steps.device, dtype=dtype)
    return steps.unsqueeze(-1) * 10000 ** (-even / width)


def turned(
    vectors: Float[Tensor, "batch head row part"], at: Int[Tensor, "_ row"]
) -> Float[Tensor, "batch head row part"]:
    """Each vector turned, pair by pair, by the angles of its own step."""
    angle = angles(at, vectors.shape[-1], vectors.dtype).unsqueeze(1)
    even, odd = vectors[..., ::2], vectors[..., 1::2]
    sin, cos = angle.sin(), angle.cos()
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


def _steps(z: Tensor) -> Int[Tensor, "1 time"]:
    return torch.arange(z.shape[1], device=z.device).unsqueeze(0)
