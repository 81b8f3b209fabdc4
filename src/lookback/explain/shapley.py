"""Shapley values of the steps, estimated from random orders of the steps [castro2009].

φ_i = mean over orders of f(x_S ∪ {i}) − f(x_S)      S are the steps before step i in the order

x_S is the sequence whose steps in S are those of x, and whose other steps are those of a baseline.
Each random order is followed by the same order from its end, an antithetic pair [mitchell2022],
which removes the part of the error that is linear in the place of a step. Every sequence of the
batch gets the same orders. The values of each order sum to f(x) − f(b), so the estimates do, too.
The standard error is that of the mean over the pairs, which are independent.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.errors import UserError
from lookback.explain.base import Attribution
from lookback.explain.baselines import Baseline, baselines_of
from lookback.explain.perturbation import Perturbation, share_of_steps, windows_of
from lookback.models.network import Network


class Shapley:
    """Shapley values of at most `windows` adjacent time windows, from `pairs` pairs of orders.

    With the baseline "data", each pair has another training sequence as its baseline.
    """

    def __init__(self, sequences: int, windows: int, pairs: int, baseline: Baseline):
        if pairs < 2:
            raise UserError(
                f"The explainer's `pairs` is {pairs}. Make it at least 2, because the standard "
                "error needs two pairs."
            )
        self.sequences = sequences
        self.windows = windows
        self.pairs = pairs
        self.baseline: Baseline = baseline

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

        The value of a window is divided evenly among its steps within the length of the sequence
        and among their features, and so is its standard error. The returned `error` is |Σ values −
        (f(x) − mean of f(b))|, which is a rounding error.
        """
        perturbation = Perturbation(model, batch, output)
        time, features = batch.inputs.shape[1:]
        windows = windows_of(time, self.windows)
        baselines = baselines_of(self.baseline, background, self.pairs)
        gains, at_baselines = [], torch.zeros_like(perturbation.answers)
        for pair in range(self.pairs):
            order = torch.randperm(len(windows), generator=generator).tolist()
            baseline = baselines[pair % len(baselines)]
            both = [
                self._gains(perturbation, windows, way, baseline) for way in (order, order[::-1])
            ]
            gains.append((both[0][0] + both[1][0]) / 2)
            at_baselines += both[0][1] / self.pairs
        samples = torch.stack(gains)  # (pairs, windows, B)
        deviation = samples.std(dim=0) / self.pairs**0.5
        values, errors = torch.zeros_like(batch.inputs), torch.zeros_like(batch.inputs)
        for window, mean, error in zip(windows, samples.mean(dim=0), deviation, strict=True):
            share = (share_of_steps(batch, window) / features).unsqueeze(-1)
            values[:, window] = mean.view(-1, 1, 1) * share
            errors[:, window] = error.view(-1, 1, 1) * share
        gap = values.sum(dim=(1, 2)) - (perturbation.answers - at_baselines)
        return Attribution(values, gap.abs(), self.baseline, errors)

    def _gains(
        self,
        perturbation: Perturbation,
        windows: list[slice],
        order: list[int],
        baseline: Float[Tensor, "time feature"],
    ) -> tuple[Float[Tensor, "window batch"], Float[Tensor, " batch"]]:
        """What each window adds in one order, and the answer for the baseline."""
        inputs = perturbation.batch.inputs
        current = baseline.expand_as(inputs).clone()
        states = [current.clone()]
        answers = list[Tensor]()
        for number in order:
            current[:, windows[number]] = inputs[:, windows[number]]
            states.append(current.clone())
            if len(states) >= perturbation.at_once:
                answers.append(perturbation.changed(torch.stack(states), 0))
                states = []
        if states:
            answers.append(perturbation.changed(torch.stack(states), 0))
        steps = torch.cat(answers).diff(dim=0)
        gains = torch.empty_like(steps)
        gains[order] = steps
        return gains, answers[0][0]
