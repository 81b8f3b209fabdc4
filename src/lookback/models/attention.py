"""A recurrent encoder that looks back over its own states: additive attention.

e_qs = vᵀ tanh(W_q h_q + W_k h_s + b),  s ≤ q and s < length      score of step s for query q
α_q  = softmax(e_q)                                               weights
c_q  = Σ_s α_qs h_s                                               context
feature = tanh(W_c [c_q; h_q] + b_c)

Scores and context: Bahdanau, Cho and Bengio 2015, "Neural machine translation by jointly learning
to align and translate", appendix A.1.2, with the state at the query in the decoder's place. The
feature: Luong, Pham and Manning 2015, "Effective approaches to attention-based NMT", eq. 5.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lookback.models.base import Initialisation, RecurrentEncoder, SequenceModel, Trace, at_queries


class AttentionModel(SequenceModel):
    """`encoder` makes the recurrent model from `features` and `hidden_size`, H throughout.

    States and gates are the encoder's. The scores of Q queries take (B, Q, T, H) of memory.
    """

    def __init__(
        self, features: int, hidden_size: int, encoder: Callable[..., RecurrentEncoder]
    ) -> None:
        super().__init__()
        self.encoder = encoder(features=features, hidden_size=hidden_size)
        self.from_query = nn.Linear(hidden_size, hidden_size)
        self.from_key = nn.Linear(hidden_size, hidden_size, bias=False)
        self.score = nn.Linear(hidden_size, 1, bias=False)
        self.combine = nn.Linear(2 * hidden_size, hidden_size)
        self.output_size = hidden_size

    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """Features at the queries, over the states that the encoder's kernel gives."""
        return self._look_back(self.encoder.outputs(inputs, lengths), lengths, query)[0]

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The encoder's trace, with the weights as `attention`, zero where s > q or s ≥ length."""
        encoded = self.encoder.trace(inputs, lengths, query, differentiable=differentiable)
        states = encoded.states[f"hidden/{self.encoder.layers - 1}"]
        with torch.set_grad_enabled(differentiable):
            features, weights = self._look_back(states, lengths, query)
        return replace(encoded, features=features, attention=weights)

    def _look_back(
        self,
        states: Float[Tensor, "batch time hidden"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> tuple[Float[Tensor, "batch query hidden"], Float[Tensor, "batch query time"]]:
        """Features and weights; a query that is none (-1) stands at the first step."""
        asking = at_queries(states, query)
        sums = self.from_query(asking).unsqueeze(2) + self.from_key(states).unsqueeze(1)
        scores = self.score(torch.tanh(sums)).squeeze(-1)
        step = torch.arange(states.shape[1], device=states.device)
        last = torch.minimum(query.clamp(min=0), lengths.unsqueeze(1) - 1)
        weights = scores.masked_fill(step > last.unsqueeze(-1), -torch.inf).softmax(dim=-1)
        features = torch.tanh(self.combine(torch.cat([weights @ states, asking], dim=-1)))
        return features, weights

    def initialise(self, initialisation: Initialisation) -> None:
        """The encoder by the recipe; the attention's own matrices xavier_uniform, biases zero."""
        self.encoder.initialise(initialisation)
        for linear in (self.from_query, self.from_key, self.score, self.combine):
            nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(self.from_query.bias)
        nn.init.zeros_(self.combine.bias)
