"""Attention distance: how far from the query each attention head looks, in steps.

distance = Σ_s α_qs |q − s|
nearest  = Σ_s α_qs over all s with |q − s| < 10

α_qs is the attention weight from the query at step q to step s. The definition of the mean
attention distance is from [vig2019], section 4.2. The distance counts steps before and after the
query, because a model that is not causal also attends to later steps.
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

NEAREST = 10  # A step counts as nearest if it is less than this many steps from the query.


class AttentionDistance:
    """Attention distance of each head, averaged over all queries of the measured sequences.

    The probe measures the first `sequences` test sequences. If these sequences have more than about
    `steps` time steps in total, the probe measures fewer sequences.
    """

    def __init__(self, sequences: int, steps: int):
        require_positive("probe", sequences=sequences, steps=steps)
        self.sequences, self.steps = sequences, steps

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Table of the mean attention distance over all queries, with one row per layer and head.

        Columns:
            layer: index of the layer, from 0.
            head: index of the head in its layer, from 0.
            distance: mean attention distance, in steps.
            nearest: share of the attention on steps closer than NEAREST steps to the query, 0 to 1.

        Raises NotApplicable if the model has no attention.
        """
        dataset = run.dataset("test")
        count = sequences_within(self.steps, dataset.inputs.shape[1], self.sequences)
        sums = [attention_sums(run.model, batch) for batch in batches(run.model, dataset, count)]
        queries = (dataset.query[:count] >= 0).sum()
        means = torch.stack(sums).sum(dim=0) / queries
        return pd.DataFrame(
            [
                {"layer": layer, "head": head, "distance": distance, "nearest": nearest}
                for layer, heads in enumerate(means.tolist())
                for head, (distance, nearest) in enumerate(heads)
            ]
        )


@torch.no_grad()
def attention_sums(network: Network, batch: Batch) -> Float[Tensor, "layer head 2"]:
    """Attention distance and attention on the nearest steps, each summed over a batch's queries.

    The result holds the sum of the distance and the sum of the attention, per layer and head.
    """
    total, step = torch.zeros(()), torch.arange(batch.inputs.shape[1])
    for query in query_parts(network, batch):
        distance = (query.unsqueeze(-1) - step).abs().unsqueeze(1)
        asked = (query >= 0).unsqueeze(1)
        layers = network.attention_by_layer(batch.inputs, batch.lengths, query)
        total = total + torch.stack([head_sums(weights, distance, asked) for weights in layers])
    return total


def head_sums(
    weights: Float[Tensor, "batch head query time"], distance: Tensor, asked: Tensor
) -> Float[Tensor, "head 2"]:
    """Σ α |q − s| and Σ α over the nearest steps, per head, summed over the queries in `asked`."""
    weighted = (weights * distance, weights * (distance < NEAREST))
    sums = [(values.sum(dim=-1) * asked).double().sum(dim=(0, 2)) for values in weighted]
    return torch.stack(sums, dim=-1)
