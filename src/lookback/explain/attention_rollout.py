"""Attention rollout: attention through all layers, with residual connections [abnar2020].

Ã_l = ½ A_l + ½ I,  R = Ã_L … Ã_1         A_l: the weights of layer l, as the mean over its heads

The value of a step is its entry in the row of R that belongs to the query. A model with one
attention layer over a recurrent network has L = 1, and the query's own state is its residual.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from lookback.data.batch import Batch
from lookback.explain.base import Attribution, within
from lookback.models.network import Network

# To limit memory, one pass has at most this many sequences × steps × steps.
PAIRS_AT_ONCE = 4_194_304


class AttentionRollout:
    """Rollout weights, which are never negative and do not depend on the explained answer."""

    def __init__(self, sequences: int):
        self.sequences = sequences

    @torch.no_grad()
    def attribute(
        self,
        model: Network,
        batch: Batch,
        output: Int[Tensor, " batch"],
        *,
        background: Float[Tensor, "sequence time feature"],
        generator: torch.Generator,
    ) -> Attribution:
        """Attribute to each step its rollout weight, divided evenly among its F features.

        The values of each sequence sum to 1. The returned `error` is the distance of their sum
        from 1.

        Raises NotApplicable if the model has no attention.
        """
        time, features = batch.inputs.shape[1:]
        every = torch.arange(time, device=batch.lengths.device)
        size, rows = max(1, PAIRS_AT_ONCE // time**2), list[Tensor]()
        for start in range(0, len(batch.inputs), size):
            part = slice(start, start + size)
            inputs, query = batch.inputs[part], batch.query[part]
            row = functional.one_hot(query, time).to(inputs)  # (B, 1, T)
            layers = model.encoder.attention_by_layer(
                inputs, batch.lengths[part], every.expand(len(inputs), -1)
            )
            for weights in reversed(layers):
                row = (row + row @ weights.mean(dim=1)) / 2
            rows.append(row[:, 0])
        steps = torch.cat(rows)
        error = (steps.sum(dim=1) - 1).abs()
        steps = steps * within(batch.lengths, time) / features
        return Attribution(steps.unsqueeze(-1).expand_as(batch.inputs).contiguous(), error)
