"""Occlusion: the drop of the answer when a part of the inputs is replaced by the baseline.

The method is from [zeiler2014], with a window of time steps instead of a patch of an image. The
value of a window is f(x) − f(x with the window replaced). With several baselines from the data, it
is the mean of this drop over the baselines. A recurrent model is not computed again for the steps
before a window (perturbation.py).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import Attribution
from lookback.explain.baselines import Baseline, baselines_of
from lookback.explain.perturbation import Perturbation, share_of_steps, windows_of
from lookback.models.network import Network


class Occlusion:
    """Occlusion by adjacent time windows, of which there are at most `windows`.

    Each window is a single step if the batch has at most `windows` time steps. If `each_feature` is
    true, one feature of a window is replaced at a time, and otherwise all features at once. The
    baseline "data" stands for `draws` training sequences.
    """

    def __init__(
        self, sequences: int, windows: int, each_feature: bool, baseline: Baseline, draws: int
    ):
        self.sequences = sequences
        self.windows = windows
        self.each_feature = each_feature
        self.baseline: Baseline = baseline
        self.draws = draws

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

        The drop of a window is divided evenly among its steps within the length of the sequence,
        and among the features that are replaced together.
        """
        perturbation = Perturbation(model, batch, output)
        time, features = batch.inputs.shape[1:]
        groups = [slice(f, f + 1) for f in range(features)] if self.each_feature else [slice(None)]
        parts = [(window, group) for window in windows_of(time, self.windows) for group in groups]
        values = torch.zeros_like(batch.inputs)
        baselines = baselines_of(self.baseline, background, self.draws)
        for first in range(0, len(parts), perturbation.at_once):
            chosen = parts[first : first + perturbation.at_once]
            drops = self._drops(perturbation, chosen, baselines)
            for (window, group), drop in zip(chosen, drops, strict=True):
                drop = (
                    drop.unsqueeze(1)
                    * share_of_steps(batch, window)
                    / values[:, window, group].shape[-1]
                )
                values[:, window, group] = drop.unsqueeze(-1)
        return Attribution(values, baseline=self.baseline)

    def _drops(
        self,
        perturbation: Perturbation,
        parts: list[tuple[slice, slice]],
        baselines: Float[Tensor, "draw time feature"],
    ) -> Float[Tensor, "part batch"]:
        """The mean drop of the answer over the baselines, for each part of the inputs."""
        start = parts[0][0].start
        kept = perturbation.batch.inputs[:, start:]
        total = torch.zeros(len(parts), len(kept), dtype=kept.dtype, device=kept.device)
        for baseline in baselines:
            suffixes = kept.repeat(len(parts), 1, 1, 1)
            for suffix, (window, group) in zip(suffixes, parts, strict=True):
                suffix[:, window.start - start : window.stop - start, group] = baseline[
                    window, group
                ]
            total += perturbation.answers - perturbation.changed(suffixes, start)
        return total / len(baselines)
