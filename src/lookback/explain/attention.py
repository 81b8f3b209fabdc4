"""Explainer that uses the model's own attention weights at the query as an attribution.

Whether attention weights explain an answer is disputed [jain2019] [wiegreffe2019]. The scores in
scores.py measure how well attention weights explain an answer.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.errors import NotApplicable
from lookback.explain.base import Attribution, within
from lookback.models.network import Network


class Attention:
    """Attention weights, which are never negative and do not depend on the explained answer."""

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
        """Attribute to each step its attention weight, divided evenly among its F features.

        The values of each sequence sum to 1.

        Raises NotApplicable if the model has no attention.
        """
        weights = model.encoder.trace(batch.inputs, batch.lengths, batch.query).attention
        if weights is None:
            raise NotApplicable(f"{type(model.encoder).__name__} has no attention weights")
        time, features = batch.inputs.shape[1:]
        steps = weights[:, 0] * within(batch.lengths, time) / features
        return Attribution(steps.unsqueeze(-1).expand_as(batch.inputs).contiguous())
