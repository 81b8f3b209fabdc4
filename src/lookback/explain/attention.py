"""The model's own attention weights at the query, used as an attribution.

Whether attention is an explanation is disputed [jain2019] [wiegreffe2019]; scores.py measures it.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.errors import NotApplicable
from lookback.explain.base import Attribution, within
from lookback.models.network import Network


class Attention:
    """Attention weights. They are never negative and do not depend on the explained answer."""

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
        """The weight of each step, divided evenly among its F features; the values sum to 1.

        Raises NotApplicable if the model has no attention.
        """
        weights = model.encoder.trace(batch.inputs, batch.lengths, batch.query).attention
        if weights is None:
            raise NotApplicable(f"{type(model.encoder).__name__} has no attention weights")
        time, features = batch.inputs.shape[1:]
        steps = weights[:, 0] * within(batch.lengths, time) / features
        return Attribution(steps.unsqueeze(-1).expand_as(batch.inputs).contiguous())
