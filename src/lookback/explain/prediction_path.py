"""The path of the prediction: how the answer changes with each step that the model reads.

φ_t = f_t − f_{t−1},  f_{−1} = 0       f_t: the answer if the sequence ends after step t

f_t is the answer at the query, or at step t if the query comes later. The values sum to the answer
exactly, and their partial sums are the answers after every step. A step gets what it changes when
it is read, even if a later step cancels it. A step after the query has the value zero, unless the
model reads such steps.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import Attribution, explained_answer, within
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network


class PredictionPath:
    """The change of the answer at each step, divided evenly among the features of the step."""

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
        """Attribute one logit, or one value in a regression task, as in `Explainer`.

        The returned `error` is |Σ values − answer|, a rounding error.
        """
        path = self._path(model, batch, output)
        changes = torch.cat([path[:, :1], path.diff(dim=1)], dim=1)
        time, features = batch.inputs.shape[1:]
        steps = changes.masked_fill(~within(batch.lengths, time), 0.0)
        gap = steps.sum(dim=1) - explained_answer(model, batch, output, batch.inputs)
        values = (steps / features).unsqueeze(-1).expand_as(batch.inputs).contiguous()
        return Attribution(values, gap.abs())

    def _path(
        self, model: Network, batch: Batch, output: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time"]:
        """The answer if each sequence ends after each step."""
        encoder, time = model.encoder, batch.inputs.shape[1]
        if isinstance(encoder, RecurrentEncoder) and not encoder.bidirectional:
            # All states up to a step are those of the sequence that ends there.
            logits = model.head(encoder.outputs(batch.inputs, batch.lengths))
            index = output.view(-1, 1, 1).expand(-1, time, 1)
            steps = torch.arange(time, device=index.device).expand(len(index), -1)
            answers: Tensor = logits.gather(2, index).squeeze(2)
            return answers.gather(1, torch.minimum(steps, batch.query))
        return torch.stack([self._ended(model, batch, output, step) for step in range(time)], dim=1)

    def _ended(
        self, model: Network, batch: Batch, output: Int[Tensor, " batch"], step: int
    ) -> Float[Tensor, " batch"]:
        """The answer if each sequence ends after `step`, or at its own end if that is earlier."""
        kept = Batch(
            batch.inputs[:, : step + 1],
            batch.lengths.clamp(max=step + 1),
            batch.query.clamp(max=step),
            batch.target,
        )
        return explained_answer(model, kept, output, kept.inputs)
