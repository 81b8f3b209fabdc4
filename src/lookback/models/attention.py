"""Recurrent encoder with attention over its own earlier states.

At a query step q, the model attends to the encoder's states h_s and combines their weighted sum,
the context c_q, with the state h_q.

e_qs = vᵀ tanh(W_q h_q + W_k h_s + b)                             additive
e_qs = (W_q h_q + b) · (W_k h_s) / √H                             scaled_dot
α_q  = softmax(e_q),  s ≤ q and s < length                        weights
c_q  = Σ_s α_qs h_s                                               context
c_q  = W_o [Σ_s α¹_qs W¹_v h_s; …; Σ_s αᵐ_qs Wᵐ_v h_s] + b_o      context, multi_head
feature = tanh(W_c [c_q; h_q] + b_c)

The additive scores and the context follow appendix A.1.2 of [bahdanau2015], with the encoder's
state h_q at the query in place of the decoder's state. The dot-product scores follow [luong2015],
and the feature follows equation 5 of [luong2015]. The heads and the scale 1/√H of the scores follow
section 3.2 of [vaswani2017]. Each head of multi_head attention computes scaled dot products on its
own H / heads components of the vectors.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lookback.models.base import Initialisation, RecurrentEncoder, SequenceModel, Trace, at_queries
from lookback.models.query_parts import queries_at_once
from lookback.models.sizes import require_heads
from lookback.runtime.settings import require_positive

Weights = Float[Tensor, "batch head query time"]


class AttentionModel(SequenceModel):
    """A recurrent encoder with attention over its states, and with features of width H.

    The argument `encoder` is a function that builds the recurrent encoder from the arguments
    `features` and `hidden_size`. A bidirectional encoder has states of width 2 H, which also
    contain information from the steps after the query. Only multi_head attention uses the argument
    `heads`, which must divide H. For Q queries per sequence, additive scores need a tensor of shape
    (B, Q, T, H), and the other scores need a tensor of shape (B, heads, Q, T). Without gradients,
    `forward` computes a part of the queries at a time, so that the tensor stays small.
    """

    def __init__(
        self,
        features: int,
        hidden_size: int,
        encoder: Callable[..., RecurrentEncoder],
        attention: Literal["additive", "scaled_dot", "multi_head"],
        heads: int,
    ) -> None:
        super().__init__()
        require_positive("model", hidden_size=hidden_size)
        self.attention = attention
        self.heads = heads if attention == "multi_head" else 1
        require_heads(hidden_size, self.heads)
        self.encoder = encoder(features=features, hidden_size=hidden_size)
        width = self.encoder.output_size
        self.from_query = nn.Linear(width, hidden_size)
        self.from_key = nn.Linear(width, hidden_size, bias=False)
        if attention == "additive":
            self.score = nn.Linear(hidden_size, 1, bias=False)
        if attention == "multi_head":
            self.from_value = nn.Linear(width, hidden_size, bias=False)
            self.join = nn.Linear(hidden_size, width)
        self.combine = nn.Linear(2 * width, hidden_size)
        self.output_size = hidden_size

    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """The features at the queries, from encoder states computed by the fastest kernel."""
        states = self.encoder.outputs(inputs, lengths)
        scores = self.from_key.out_features if self.attention == "additive" else self.heads
        size = queries_at_once(query.shape[1], len(states) * states.shape[1] * scores)
        parts = [
            self._look_back(states, lengths, part)[0] for part in torch.split(query, size, dim=1)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The encoder's trace, together with the attention weights α at the queries.

        A query at step q gives the weight zero to all later steps (s > q), and to the padding
        (s ≥ length). `Trace.attention` holds the mean over the heads. For multi_head attention,
        `Trace.heads` holds the attention weights of each head.
        """
        encoded = self.encoder.trace_outputs(inputs, lengths, differentiable=differentiable)
        with torch.set_grad_enabled(differentiable):
            features, weights = self._look_back(encoded.features, lengths, query)
        return replace(
            encoded,
            features=features,
            attention=weights.mean(dim=1),
            heads=weights if self.attention == "multi_head" else None,
        )

    def attention_by_layer(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> list[Float[Tensor, "batch head query time"]]:
        """The attention weights at the queries, as a list that contains one tensor."""
        return [self._look_back(self.encoder.outputs(inputs, lengths), lengths, query)[1]]

    def _look_back(
        self,
        states: Float[Tensor, "batch time width"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> tuple[Float[Tensor, "batch query hidden"], Weights]:
        """The features and the attention weights at the queries.

        For a padding query (-1), the feature is computed at the first step, and no loss uses it.
        """
        query_states = at_queries(states, query)
        step = torch.arange(states.shape[1], device=states.device)
        last = torch.minimum(query.clamp(min=0), lengths.unsqueeze(1) - 1)
        masked = (step > last.unsqueeze(-1)).unsqueeze(1)
        weights = self._scores(query_states, states).masked_fill(masked, -torch.inf).softmax(dim=-1)
        if self.attention == "multi_head":
            head_contexts = weights @ self._by_head(self.from_value(states))
            context = self.join(head_contexts.transpose(1, 2).flatten(2))
        else:
            context = weights.squeeze(1) @ states
        return torch.tanh(self.combine(torch.cat([context, query_states], dim=-1))), weights

    def _scores(
        self,
        query_states: Float[Tensor, "batch query width"],
        states: Float[Tensor, "batch time width"],
    ) -> Weights:
        q, k = self.from_query(query_states), self.from_key(states)
        if self.attention == "additive":
            scores: Tensor = self.score(torch.tanh(q.unsqueeze(2) + k.unsqueeze(1)))
            return scores.squeeze(-1).unsqueeze(1)
        q, k = self._by_head(q), self._by_head(k)
        products: Tensor = q @ k.mT / q.shape[-1] ** 0.5
        return products

    def _by_head(self, vectors: Tensor) -> Float[Tensor, "batch head _ part"]:
        return vectors.view(*vectors.shape[:-1], self.heads, -1).transpose(1, 2)

    def initialise(self, initialisation: Initialisation) -> None:
        """Initialise the encoder as the recipe says, and the attention by fixed rules.

        The matrices of the attention are drawn by xavier_uniform, and its biases are set to zero.
        """
        self.encoder.initialise(initialisation)
        for linear in (child for child in self.children() if isinstance(child, nn.Linear)):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
