"""Answers of a model for changed inputs, with as few recurrent steps as possible.

Many changes are computed in one pass. An rnn, lstm or gru of one direction resumes from its state
before the first changed step, which all changes share, and stops at the query. Other models compute
the whole sequence for each change.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import explained_answer, within
from lookback.models.base import at_queries
from lookback.models.network import Network
from lookback.models.recurrent import RecurrentModel

# To limit memory, one pass has at most this many changes × sequences × time steps.
STEPS_AT_ONCE = 65_536


class Perturbation:
    """The explained answers of a batch, and how they are for changed inputs."""

    @torch.no_grad()
    def __init__(self, model: Network, batch: Batch, output: Int[Tensor, " batch"]):
        self.model, self.batch, self.output = model, batch, output
        self.answers = explained_answer(model, batch, output, batch.inputs)
        self.at_once = max(1, STEPS_AT_ONCE // batch.inputs[..., 0].numel())
        encoder = model.encoder
        self.encoder = (
            encoder if isinstance(encoder, RecurrentModel) and not encoder.bidirectional else None
        )
        if self.encoder:
            trace = self.encoder.trace(batch.inputs, batch.lengths, batch.query)
            self.states = trace.states

    @torch.no_grad()
    def changed(
        self, suffixes: Float[Tensor, "change batch steps feature"], start: int
    ) -> Float[Tensor, "change batch"]:
        """The answers if `suffixes` take the place of the inputs from step `start` on."""
        changes, batch = len(suffixes), self.batch
        rows = suffixes.flatten(0, 1)
        if not self.encoder:
            whole = torch.cat([batch.inputs[:, :start].repeat(changes, 1, 1), rows], dim=1)
            repeated = Batch(
                whole,
                batch.lengths.repeat(changes),
                batch.query.repeat(changes, 1),
                batch.target.repeat(changes, *(1,) * (batch.target.dim() - 1)),
            )
            answers = explained_answer(self.model, repeated, self.output.repeat(changes), whole)
            return answers.view(changes, -1)
        query = batch.query.repeat(changes, 1) - start
        outputs = self.encoder.resume(
            rows, (query[:, 0] + 1).clamp(min=0), self._before(start, changes)
        )
        logits = self.model.head(at_queries(outputs, query))[:, 0]
        answers = logits.gather(1, self.output.repeat(changes).unsqueeze(1)).view(changes, -1)
        # A change after the query changes nothing.
        return torch.where(batch.query[:, 0] < start, self.answers, answers)

    def _before(self, start: int, changes: int) -> list[tuple[Tensor, ...]] | None:
        """The state of each layer before step `start`, repeated for all changes."""
        assert self.encoder is not None
        if start == 0:
            return None
        return [
            tuple(
                self.states[f"{part}/{layer}"][:, start - 1].repeat(changes, 1)
                for part in self.encoder.parts
            )
            for layer in range(self.encoder.layers)
        ]


def windows_of(time: int, windows: int) -> list[slice]:
    """At most `windows` adjacent windows of equal width, which cover `time` steps."""
    width = -(-time // windows)
    return [slice(start, min(start + width, time)) for start in range(0, time, width)]


def share_of_steps(batch: Batch, window: slice) -> Float[Tensor, "batch steps"]:
    """The share of each step in the value of a window: equal within the length, and zero after."""
    inside = within(batch.lengths, batch.inputs.shape[1])[:, window].to(batch.inputs)
    return inside / inside.sum(dim=1, keepdim=True).clamp(min=1)
