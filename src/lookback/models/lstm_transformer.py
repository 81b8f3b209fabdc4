"""Self-attention over recurrent states: the fusion of LSTM and transformer.

h = encoder(x)                               states of any recurrent model, LSTM by default
z_0 = W_e h + b_e
z_{l+1} and the feature: transformer_layer.py

Wang et al. 2019, "R-Transformer: Recurrent neural network enhanced transformer", is the published
relative: there each layer runs a recurrent net over a window of its own before it attends, here one
recurrent encoder runs over the whole sequence below all layers. As there, no positions are added:
the recurrence knows the order. It is what tutorials on the subject wish for, LSTM and transformer
in one: the encoder carries what is near, attention reaches what is far.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lookback.models.base import Initialisation, RecurrentEncoder, SequenceModel, Trace
from lookback.models.sizes import require_dropout, require_heads
from lookback.models.transformer_layer import TransformerStack
from lookback.runtime.settings import require_positive


class LSTMTransformer(SequenceModel):
    """`encoder` makes the recurrent model from `features` and `hidden_size`.

    Its states and gates keep their names; «attended/l» are z_{l+1}.
    """

    def __init__(
        self,
        features: int,
        hidden_size: int,
        encoder: Callable[..., RecurrentEncoder],
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        causal: bool,
    ) -> None:
        super().__init__()
        require_heads(hidden_size, heads)
        require_positive("model", layers=layers, feedforward=feedforward)
        require_dropout(dropout)
        self.encoder = encoder(features=features, hidden_size=hidden_size)
        self.enter = nn.Linear(self.encoder.output_size, hidden_size)
        self.drop = nn.Dropout(dropout)
        self.stack = TransformerStack(
            hidden_size, layers, heads, feedforward, dropout, causal=causal
        )
        self.output_size = hidden_size

    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """Features at the queries, over the states that the encoder's fast way gives."""
        entered = self.enter(self.encoder.outputs(inputs, lengths))
        features: Tensor = self.stack(self.drop(entered), lengths, query)
        return features

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The encoder's trace and the stack's; `heads` and `attention` are the last layer's."""
        encoded = self.encoder.trace_outputs(inputs, lengths, differentiable=differentiable)
        with torch.set_grad_enabled(differentiable):
            z = self.drop(self.enter(encoded.features))
            features, layers, heads = self.stack.opened(z, lengths, query)
            own = {f"attended/{number}": z for number, z in enumerate(layers)}
            return replace(
                encoded,
                features=features,
                states={**encoded.states, **own},
                attention=heads.mean(dim=1),
                heads=heads,
                path={**encoded.path, **{name: [state] for name, state in own.items()}},
            )

    def attention_by_layer(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> list[Float[Tensor, "batch head query time"]]:
        """The weights at the queries, a tensor a layer of the stack."""
        entered = self.drop(self.enter(self.encoder.outputs(inputs, lengths)))
        return self.stack.attention_by_layer(entered, lengths, query)

    def initialise(self, initialisation: Initialisation) -> None:
        """The encoder by the recipe; all else xavier_uniform, biases zero, LN at the identity."""
        self.encoder.initialise(initialisation)
        nn.init.xavier_uniform_(self.enter.weight)
        nn.init.zeros_(self.enter.bias)
        self.stack.initialise()
