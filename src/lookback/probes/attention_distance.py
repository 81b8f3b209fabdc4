"""How far its attention looks, head by head: Σ_s α_qs |q − s|, and Σ α_qs over |q − s| < 10.

α_qs is the weight that the query at step q gives to step s. A model that is not causal may also
look ahead of a query that is not at the end: such a step counts by its distance as well. Mean
attention distance: Vig & Belinkov 2019, "Analyzing the structure of attention", section 4.2.
"""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.batch import Batch
from lookback.models.network import Network
from lookback.probes.batching import batches, query_parts, sequences_within
from lookback.runtime.settings import require_positive
from lookback.training.run import Run

NEAREST = 10  # steps, the query's own among them


class AttentionDistance:
    """Means over all queries. Fewer sequences where they are long: about `steps` together."""

    def __init__(self, sequences: int, steps: int):
        require_positive("probe", sequences=sequences, steps=steps)
        self.sequences, self.steps = sequences, steps

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """One row a layer and head. Columns: layer, head, distance (steps), nearest (a share).

        Raises NotApplicable for a model without attention.
        """
        dataset = run.task().dataset("test")
        count = sequences_within(self.steps, dataset.inputs.shape[1], self.sequences)
        parts = [summed(run.model, each) for each in batches(run.model, dataset, count)]
        queries = (dataset.query[:count] >= 0).sum()
        means = torch.stack(parts).sum(dim=0) / queries
        return pd.DataFrame(
            [
                {"layer": layer, "head": head, "distance": distance, "nearest": nearest}
                for layer, heads in enumerate(means.tolist())
                for head, (distance, nearest) in enumerate(heads)
            ]
        )


@torch.no_grad()
def summed(network: Network, batch: Batch) -> Float[Tensor, "layer head 2"]:
    """Distance and share of the nearest steps, summed over the queries of a batch."""
    total, step = torch.zeros(()), torch.arange(batch.inputs.shape[1])
    for query in query_parts(network, batch):
        away = (query.unsqueeze(-1) - step).abs().unsqueeze(1)
        asked = (query >= 0).unsqueeze(1)
        layers = network.attention_by_layer(batch.inputs, batch.lengths, query)
        total = total + torch.stack([of_heads(weights, away, asked) for weights in layers])
    return total


def of_heads(
    weights: Float[Tensor, "batch head query time"], away: Tensor, asked: Tensor
) -> Float[Tensor, "head 2"]:
    """Per head, Σ α |q − s| and Σ α over the nearest steps, summed over the queries asked."""
    kinds = (weights * away, weights * (away < NEAREST))
    sums = [(each.sum(dim=-1) * asked).double().sum(dim=(0, 2)) for each in kinds]
    return torch.stack(sums, dim=-1)
