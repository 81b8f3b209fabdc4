"""LSTM with a transformer on top, which applies self-attention to the states of the LSTM.

h = encoder(x)                               states of a recurrent model, LSTM by default
z_0 = W_e h + b_e
z_{l+1} and the feature: transformer_layer.py

The published model most similar to LSTMTransformer is the R-Transformer [wang2019], in which each
layer runs a recurrent network over a local window before its attention. In LSTMTransformer, one
recurrent encoder runs over the whole sequence before all attention layers. Neither the
R-Transformer nor LSTMTransformer adds position encodings, because the recurrent states already
contain the order of the steps. Tutorials often combine an LSTM with a transformer, so that the
recurrent encoder carries information from nearby steps and attention reads distant steps.
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
    """A recurrent encoder, and a stack of transformer layers that read the encoder's states.

    The argument `encoder` is a function that builds the recurrent encoder from the arguments
    `features` and `hidden_size`. In a trace, the encoder's states and gates keep their names, and
    the state «attended/l» is the output z_{l+1} of transformer layer l.
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
        """The features at the queries, from encoder states computed by the fastest kernel."""
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
        """The encoder's trace, extended by the transformer layers' outputs and attention weights.

        `Trace.heads` and `Trace.attention` hold the attention weights of the last layer.
        """
        encoded = self.encoder.trace_outputs(inputs, lengths, differentiable=differentiable)
        with torch.set_grad_enabled(differentiable):
            z = self.drop(self.enter(encoded.features))
            features, layers, heads = self.stack.trace(z, lengths, query)
            attended = {f"attended/{number}": z for number, z in enumerate(layers)}
            return replace(
                encoded,
                features=features,
                states={**encoded.states, **attended},
                attention=heads.mean(dim=1),
                heads=heads,
                path={**encoded.path, **{name: [state] for name, state in attended.items()}},
            )

    def attention_by_layer(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> list[Float[Tensor, "batch head query time"]]:
        """The attention weights at the queries, one tensor per transformer layer."""
        entered = self.drop(self.enter(self.encoder.outputs(inputs, lengths)))
        return self.stack.attention_by_layer(entered, lengths, query)

    def initialise(self, initialisation: Initialisation) -> None:
        """Initialise the encoder as the recipe says, and all other weights as in `Transformer`.

        Outside the encoder, matrices are drawn by xavier_uniform, biases are set to zero, and layer
        normalisation starts as the identity.
        """
        self.encoder.initialise(initialisation)
        nn.init.xavier_uniform_(self.enter.weight)
        nn.init.zeros_(self.enter.bias)
        self.stack.initialise()
