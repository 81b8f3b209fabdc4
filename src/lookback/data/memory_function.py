"""Memory function: the target is a weighted sum of the last inputs, y_t = Σ_s ρ(s) x_{t−s}.

The inputs are x_t ~ N(0, 1), independent of each other. The memory function ρ gives the weight of
the input s steps before, for s = 0 … `window` − 1. It is one of the four kinds of [jiang2025]. In
our form, the strength τ is a number of steps for every kind:

exponential   ρ(s) ∝ e^(−s/τ)
polynomial    ρ(s) ∝ 1 / (1 + s/τ)
impulse       ρ(s) = 1 if s = τ, and 0 otherwise
airy          ρ(s) ∝ Ai(s − τ), which oscillates for s < τ and vanishes quickly for s > τ

The weights are scaled so that Σ_s ρ(s)² = 1. The target then has the variance 1, and so the
constant answer 0 has the mean squared error 1. The queries are at all steps from step `window` − 1
on, where all terms of the sum exist.

The best linear answer from the last w inputs is Σ_{s<w} ρ(s) x_{t−s}, and its mean squared error is
Σ_{s≥w} ρ(s)². No nonlinear answer is better, because the missing inputs are independent of the last
w inputs. The answer from the input of the query's own step (w = 1) needs no memory. It is a
baseline.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.special import airy
from torch import Tensor

from lookback.data.baselines import Baseline, shortcut
from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask
from lookback.errors import UserError

Numbers = Float[np.ndarray, " step_before"]

# ρ before it is scaled, as a function of s and τ
FUNCTIONS: Mapping[str, Callable[[Numbers, float], Numbers]] = {
    "exponential": lambda before, strength: np.exp(-before / strength),
    "polynomial": lambda before, strength: 1 / (1 + before / strength),
    "impulse": lambda before, strength: (before == strength).astype(float),
    "airy": lambda before, strength: airy(before - strength)[0],
}


class MemoryFunction(GeneratedTask):
    """A task whose target is a sum of the last `window` inputs, weighted by a memory function."""

    kind = "value"
    features, outputs = 1, 1

    def __init__(
        self,
        length: int,
        function: str,
        strength: float,
        window: int,
        train: int,
        validation: int,
        test: int,
        seed: int | str,
        fresh: bool,
    ):
        super().__init__(length, train, validation, test, seed, fresh)
        if not 1 <= window <= length:
            raise UserError(
                f"window: {window} does not fit a sequence of length {length}; make it 1 to "
                f"{length}, or `length` larger."
            )
        self.window = window
        self.weights = memory_function(function, strength, window)

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences with inputs (N, T, 1) and targets (N, Q, 1), Q = T − `window` + 1."""
        values = generator.standard_normal((count, self.length))
        windows = np.lib.stride_tricks.sliding_window_view(values, self.window, axis=1)
        target = windows @ self.weights[::-1]
        query = torch.arange(self.window - 1, self.length).repeat(count, 1)
        farthest = int(np.flatnonzero(self.weights)[-1])
        return SequenceDataset(
            inputs=torch.from_numpy(values.astype(np.float32)).unsqueeze(-1),
            lengths=torch.full((count,), self.length),
            query=query,
            target=torch.from_numpy(target.astype(np.float32)).unsqueeze(-1),
            lag=torch.full_like(query, farthest),
            evidence=self.weighted_steps,
        )

    def shortcuts(self, train: SequenceDataset, test: SequenceDataset) -> list[Baseline]:
        """The term of the query's own step, which needs no memory."""
        if self.weights[0] == 0:
            return []
        answers = float(self.weights[0]) * test.inputs[:, self.window - 1 :]
        return [shortcut("input of the query's own step", answers, test)]

    def weighted_steps(
        self, inputs: Float[Tensor, "batch time 1"]
    ) -> Bool[Tensor, "batch query time"]:
        """The evidence of an answer: the steps whose weight is not zero."""
        query = np.arange(self.window - 1, self.length)
        before = query[:, None] - np.arange(self.length)
        is_inside = (before >= 0) & (before < self.window)
        is_weighted = is_inside & (self.weights[before.clip(0, self.window - 1)] != 0)
        return torch.from_numpy(is_weighted).to(inputs.device).expand(len(inputs), -1, -1)


def memory_function(function: str, strength: float, window: int) -> Numbers:
    """The weights ρ(0) … ρ(`window` − 1), whose squares sum to 1. `strength` is τ in steps.

    Raises UserError if `function` is unknown. Raises UserError if `strength` is not above 0 or, for
    an impulse, no whole number from 0 to `window` − 1.
    """
    before = np.arange(window, dtype=float)
    if function not in FUNCTIONS:
        raise UserError(f"function: {function!r}; choose one of {', '.join(FUNCTIONS)}.")
    if function == "impulse" and strength not in before:
        raise UserError(
            f"strength: {strength}; an impulse is so many steps before the query. Make it a whole "
            f"number from 0 to {window - 1}, or `window` larger."
        )
    if function != "impulse" and strength <= 0:
        raise UserError(f"strength: {strength}; make it a number of steps above 0.")
    weights = FUNCTIONS[function](before, strength)
    scaled: Numbers = weights / np.linalg.norm(weights)
    return scaled


def error_by_window(weights: Numbers) -> Float[np.ndarray, " inputs"]:
    """The mean squared error of the best answer from the last w inputs, for w = 0 … `window`."""
    return np.append(np.cumsum(weights[::-1] ** 2)[::-1], 0.0)
