"""The model's own attention weights at the query, taken for an explanation.

Whether they are one is disputed (Jain & Wallace 2019; Wiegreffe & Pinter 2019): scores.py judges.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.errors import NotApplicable
from lookback.explain.base import Attribution, within
from lookback.models.network import Network


class Attention:
    """Never negative, and blind to which answer is explained."""

    def __init__(self, sequences: int):
        self.sequences = sequences

    @torch.no_grad()
    def attribute(
        self,
        model: Network,
        batch: Batch,
        query: int,
        output: Int[Tensor, " batch"],
        *,
        background: Float[Tensor, "sequence time feature"],
        generator: torch.Generator,
    ) -> Attribution:
        """A step's weight, shared evenly by its F features, so that a sequence's values sum to 1.

        Raises NotApplicable for a model without attention.
        """
        weights = model.encoder.trace(batch.inputs, batch.lengths, batch.query).attention
        if weights is None:
            raise NotApplicable(f"{type(model.encoder).__name__} has no attention weights")
        time, features = batch.inputs.shape[1:]
        steps = weights[:, query] * within(batch.lengths, time) / features
        return Attribution(steps.unsqueeze(-1).expand_as(batch.inputs).contiguous())
