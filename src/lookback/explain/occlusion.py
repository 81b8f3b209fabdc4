"""Occlusion: the drop of the answer when a window of time is replaced by the background's mean.

The method is from [zeiler2014], with a window of time steps instead of a patch of an image. The
value of window w is f(x) − f(x with window w replaced). Each window needs one forward pass, which
covers all sequences.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import Attribution, answer, within
from lookback.models.network import Network


class Occlusion:
    """Occlusion by adjacent time windows, of which there are at most `windows`.

    Each window is a single step if the batch has at most `windows` time steps.
    """

    def __init__(self, sequences: int, windows: int):
        self.sequences = sequences
        self.windows = windows

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
        """Attribute one logit (or one value in a regression task) to the inputs, as in `Explainer`.

        If a window is replaced, the drop of the answer is divided evenly among the steps and
        features of the window.
        """

        def explained(inputs: Tensor) -> Tensor:
            answers = answer(model, inputs, batch.lengths, batch.query)
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
