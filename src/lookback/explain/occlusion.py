"""Occlusion: how far the answer drops when a window of time is replaced by the background's mean.

Zeiler & Fergus 2014, with a window of time for their patch of an image:
value_w = f(x) − f(x with window w replaced). One forward pass a window, all sequences at once.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import Attribution, answer, within
from lookback.models.network import Network


class Occlusion:
    """At most `windows` windows side by side; single steps where the sequence is that short."""

    def __init__(self, sequences: int, windows: int):
        self.sequences = sequences
        self.windows = windows

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
        """Attribute a logit or a value; a window's steps and features share its drop evenly."""

        def explained(inputs: Tensor) -> Tensor:
            answers = answer(model, inputs, batch.lengths, batch.query[:, query])
            return answers.gather(1, output.unsqueeze(1))

        time, features = batch.inputs.shape[1:]
        width = -(-time // self.windows)
        mean, whole = background.mean(dim=0), explained(batch.inputs)
        inside = within(batch.lengths, time)
        values = torch.zeros_like(batch.inputs)
        for start in range(0, time, width):
            window = slice(start, start + width)
            occluded = batch.inputs.clone()
            occluded[:, window] = mean[window]
            share = inside[:, window] / inside[:, window].sum(dim=1, keepdim=True).clamp(min=1)
            drop = (whole - explained(occluded)) * share / features
            values[:, window] = drop.unsqueeze(-1)
        return Attribution(values)
