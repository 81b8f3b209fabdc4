"""Transformer layer (self-attention and a feed-forward network), and a stack of such layers.

y_l = z_l + MultiHead(LN(z_l)),  head_j = softmax(Q_j K_jᵀ / √d) V_j,  d = H / heads
z_{l+1} = y_l + W_2 max(0, W_1 LN(y_l) + b_1) + b_2
feature = LN(z_L) at the query

The layer follows [vaswani2017], with layer normalisation (LN) before each sublayer, as in
[xiong2020]. If `rotary` is true, each layer rotates its queries and keys before the product Q Kᵀ
([su2021], equation 34). At step t, each pair of components (q_{2i}, q_{2i+1}) is rotated by the
angle t / 10000^(2i/d). With the rotation, the positions of a query and a key affect their score
only through the distance between the two steps.
"""

from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lookback.models.base import at_queries
from lookback.models.query_parts import attend


class TransformerStack(nn.Module):
    """A stack of transformer layers and a final layer normalisation.

    Every step attends to all steps of its sequence, or if `causal` is true, only to itself and to
    earlier steps.
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
        """The features at the queries.

        The last layer computes its output only at the query steps.
        """
        *inner, last = list(self.layers)
        every, time = _steps(z), z.shape[1]
        for layer in inner:
            z = layer(z, z, every, self._visible(lengths, every, time))
        rows = query.clamp(min=0)
        z = last(at_queries(z, query), z, rows, self._visible(lengths, rows, time))
        features: Tensor = self.norm(z)
        return features

    def trace(
        self,
        z: Float[Tensor, "batch time hidden"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> tuple[
        Float[Tensor, "batch query hidden"],
        list[Float[Tensor, "batch time hidden"]],
        Float[Tensor, "batch head query time"],
    ]:
        """The features, the outputs z_{l+1} of all layers, and the last layer's attention weights.

        The attention weights are computed only at the query steps, so that no head needs a (T, T)
        matrix of weights.
        """
        every, rows, time = _steps(z), query.clamp(min=0), z.shape[1]
        visible = self._visible(lengths, every, time)
        query_visible = self._visible(lengths, rows, time)
        states, layers = [z], cast("list[TransformerLayer]", list(self.layers))
        for layer in layers:
            states.append(layer(states[-1], states[-1], every, visible))
        heads = layers[-1].weights(at_queries(states[-2], query), states[-2], rows, query_visible)
        return at_queries(self.norm(states[-1]), query), states[1:], heads

    def attention_by_layer(
        self,
        z: Float[Tensor, "batch time hidden"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> list[Float[Tensor, "batch head query time"]]:
        """The attention weights at the query steps, one tensor per layer.

        The attention weights at steps without a query are not computed, so that no head needs a
        (T, T) matrix of weights.
        """
        every, rows, time = _steps(z), query.clamp(min=0), z.shape[1]
        *inner, last = cast("list[TransformerLayer]", list(self.layers))
        query_visible, weights = self._visible(lengths, rows, time), list[Tensor]()
        for layer in inner:
            weights.append(layer.weights(at_queries(z, query), z, rows, query_visible))
            z = layer(z, z, every, self._visible(lengths, every, time))
        return [*weights, last.weights(at_queries(z, query), z, rows, query_visible)]

    def initialise(self) -> None:
        """Draw matrices by xavier_uniform, set biases to zero and layer norms to the identity."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()

    def _visible(
        self, lengths: Int[Tensor, " batch"], rows: Int[Tensor, "_ row"], time: int
    ) -> Bool[Tensor, "batch 1 _ time"]:
        """The attention mask, shared by all heads, is true where a query may attend to a step.

        The argument `rows` holds the time step of each query, and each query is one row of the
        mask.
        """
        step = torch.arange(time, device=lengths.device)
        visible = (step < lengths.unsqueeze(1)).unsqueeze(1)
        if self.causal:
            visible = visible & (step <= rows.unsqueeze(-1))
        return visible.unsqueeze(1)


class TransformerLayer(nn.Module):
    """Self-attention, then a feed-forward network at each step, both with residual connections."""

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
        """The layer's output z_{l+1} at the steps `at`, computed with the fused attention kernel.

        The argument `rows` holds the layer's input at the steps `at`, and `steps` holds the layer's
        input at all steps. Each step in `at` attends to the steps at which the mask `visible` is
        true.
        """
        q, k, v = self._projected(rows, steps, at)
        return self._added(rows, attend(q, k, v, visible))

    def weights(
        self,
        rows: Float[Tensor, "batch row hidden"],
        steps: Float[Tensor, "batch time hidden"],
        at: Int[Tensor, "_ row"],
        visible: Bool[Tensor, "batch 1 _ time"],
    ) -> Float[Tensor, "batch head row time"]:
        """The attention weights of each head at the steps `at`, with arguments as in `forward`."""
        q, k, _ = self._projected(rows, steps, at)
        scores = q @ k.mT / q.shape[-1] ** 0.5
        weights: Tensor = scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)
        return weights

    def _projected(
        self, rows: Tensor, steps: Tensor, at: Int[Tensor, "_ row"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The queries of `rows`, and the keys and values of `steps`, each (B, heads, ·, d)."""
        norm_rows, norm_steps = self.norm_attention(rows), self.norm_attention(steps)
        q, k, v = (
            projection.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query(norm_rows), self.key(norm_steps), self.value(norm_steps))
        )
        return (rotate(q, at), rotate(k, _steps(steps)), v) if self.rotary else (q, k, v)

    def _added(self, rows: Tensor, attended: Tensor) -> Tensor:
        y = rows + self.drop(self.join(attended.transpose(1, 2).flatten(2)))
        wide = functional.relu(self.widen(self.norm_feedforward(y)))
        added: Tensor = y + self.drop(self.narrow(wide))
        return added


def angles(steps: Int[Tensor, "*shape"], width: int) -> Float[Tensor, "*shape half"]:
    """The angles t / 10000^(2i/width) of each step t, one angle per pair i of components.

    The angles are computed at every call, so sequences of any length are possible. They have
    float64 precision whatever the precision of the model is, because bfloat16 cannot tell step 256
    from step 257.
    """
    even = torch.arange(0, width, 2, device=steps.device, dtype=torch.float64)
    return steps.unsqueeze(-1) * 10000 ** (-even / width)


def rotate(
    vectors: Float[Tensor, "batch head row part"], at: Int[Tensor, "_ row"]
) -> Float[Tensor, "batch head row part"]:
    """Rotate each pair of vector components by its angle. `at` holds each vector's time step.

    The rotation is computed in float32 at least, and rounded once to the precision of `vectors`.
    """
    precision = torch.promote_types(vectors.dtype, torch.float32)
    angle = angles(at, vectors.shape[-1]).unsqueeze(1)
    sin, cos = angle.sin().to(precision), angle.cos().to(precision)
    even, odd = vectors[..., ::2], vectors[..., 1::2]
    rotated = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)
    return rotated.to(vectors.dtype)


def _steps(z: Tensor) -> Int[Tensor, "1 time"]:
    return torch.arange(z.shape[1], device=z.device).unsqueeze(0)
