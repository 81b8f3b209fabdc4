"""A whole network: embedding (tokens only), encoder, and the one head that all models share."""

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
    """Answers (B, Q, outputs): logits of classes, or values."""

    def __init__(self, encoder: SequenceModel, outputs: int, embedding: nn.Embedding | None = None):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.output_size, outputs)
        self.embedding = embedding

    def embed(
        self, inputs: Float[Tensor, "batch time feature"] | Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time feature"]:
        """Tokens as vectors; what is a vector already passes through. Explanations start here."""
        return (
            self.embedding(inputs) if self.embedding and not inputs.is_floating_point() else inputs
        )

    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"] | Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query output"]:
        """The answers at the queries."""
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
        """The answers, and the encoder opened up."""
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
        """The encoder's attention at the queries. Raises NotApplicable where it has none."""
        embedded = _without_padding(self.embed(inputs), lengths)
        return self.encoder.attention_by_layer(embedded, lengths, query)


def _without_padding(
    inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch time feature"]:
    """Zero past each length: a NaN there would else reach the weights' gradient as 0 × NaN."""
    past = torch.arange(inputs.shape[1], device=inputs.device) >= lengths.unsqueeze(1)
    return inputs.masked_fill(past.unsqueeze(-1), 0.0)


def build_network(
    model: Mapping[str, Any], initialisation: Mapping[str, Any], facts: Facts, *, seed: int
) -> Network:
    """The network of a config as it stands before training: the same for a seed, everywhere.

    The global random state is left as it was. Raises UserError where the task has a shape that the
    model cannot take.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # of the CPU, where a network is made
        network = undrawn_network(model, facts)
        network.encoder.initialise(Initialisation.of(initialisation, length=facts.length))
        nn.init.xavier_uniform_(network.head.weight)
        nn.init.zeros_(network.head.bias)
    return network


def undrawn_network(model: Mapping[str, Any], facts: Facts) -> Network:
    """The network of a config, its weights not yet drawn by a recipe. Raises as `build_network`."""
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
                f"The task says that its `{name}` is {size}; a model needs 1 at least. "
                "Mend the task's settings, or its `facts()`."
            )
    if facts.tokens and "embedding_size" not in model:
        raise UserError(
            f"The task's inputs are tokens, and the model {model.get('_target_')} says no width "
            "for them. Add `embedding_size: 32` to its YAML in conf/model/."
        )
