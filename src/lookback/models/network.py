"""The network of every model, which is an embedding for tokens, an encoder and a linear head."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lookback.data.task import Facts
from lookback.errors import UserError
from lookback.models.base import Initialisation, SequenceModel, Trace
from lookback.runtime.instantiate import instantiate


class Network(nn.Module):
    """A network that gives class logits or real values, of shape (B, Q, outputs), for Q queries."""

    def __init__(self, encoder: SequenceModel, outputs: int, embedding: nn.Embedding | None = None):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.output_size, outputs)
        self.embedding = embedding

    def embed(
        self, inputs: Float[Tensor, "batch time feature"] | Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time feature"]:
        """Embed tokens as vectors, and return inputs that are already vectors unchanged.

        Explanation methods attribute an answer to the vectors that `embed` returns.
        """
        return (
            self.embedding(inputs) if self.embedding and not inputs.is_floating_point() else inputs
        )

    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"] | Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query output"]:
        """The network's answers (B, Q, outputs) at the queries."""
        embedded = _without_padding(self.embed(inputs), lengths)
        answers: Tensor = self.head(self.encoder(embedded, lengths, query))
        return answers

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"] | Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> tuple[Float[Tensor, "batch query output"], Trace]:
        """The network's answers at the queries, and the encoder's trace."""
        embedded = _without_padding(self.embed(inputs), lengths)
        with torch.set_grad_enabled(differentiable):
            trace = self.encoder.trace(embedded, lengths, query, differentiable=differentiable)
            return self.head(trace.features), trace

    def attention_by_layer(
        self,
        inputs: Float[Tensor, "batch time feature"] | Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> list[Float[Tensor, "batch head query time"]]:
        """The encoder's attention weights at the queries, one tensor per layer.

        Raises NotApplicable if the encoder has no attention.
        """
        embedded = _without_padding(self.embed(inputs), lengths)
        return self.encoder.attention_by_layer(embedded, lengths, query)


def _without_padding(
    inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch time feature"]:
    """Set the inputs after each sequence's last step to zero.

    A NaN in the padding would otherwise make the gradient of the weights NaN (0 × NaN is NaN).
    """
    past = torch.arange(inputs.shape[1], device=inputs.device) >= lengths.unsqueeze(1)
    return inputs.masked_fill(past.unsqueeze(-1), 0.0)


def build_network(
    model: Mapping[str, Any], initialisation: Mapping[str, Any], facts: Facts, *, seed: int
) -> Network:
    """Build the network that a config describes, with the initial weights of training.

    Equal seeds give equal weights on every machine. The state of torch's global random generator
    does not change. Raises UserError if the model cannot be built for the task's sizes or inputs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # weights are drawn on the CPU
        network = undrawn_network(model, facts)
        network.encoder.initialise(Initialisation.of(initialisation, length=facts.length))
        nn.init.xavier_uniform_(network.head.weight)
        nn.init.zeros_(network.head.bias)
    return network


def undrawn_network(model: Mapping[str, Any], facts: Facts) -> Network:
    """Build the network that a config describes, without initialising it as the recipe says.

    Raises UserError if the model cannot be built for the task's sizes or inputs.
    """
    _check(model, facts)
    settings = dict(model)
    width = settings.pop("embedding_size", None)
    embedding = nn.Embedding(facts.features, width) if facts.tokens else None
    features = facts.features if embedding is None else embedding.embedding_dim
    return Network(instantiate(settings, features=features), facts.outputs, embedding)


def _check(model: Mapping[str, Any], facts: Facts) -> None:
    for name in ("features", "length", "outputs"):
        if (size := getattr(facts, name)) < 1:
            raise UserError(
                f"The task's `{name}` is {size}, but a model needs at least 1. "
                "Correct the task's settings, or its `facts()`."
            )
    if facts.tokens and "embedding_size" not in model:
        raise UserError(
            f"The task's inputs are tokens, but the model {model.get('_target_')} has no "
            "`embedding_size`. Add `embedding_size: 32` to the model's YAML in conf/model/."
        )
