"""State noise: the skill of a network whose state is disturbed at each step, without training.

ŝ_{t−1} = s_{t−1} + σ ε_t,   s_t = f(ŝ_{t−1}, x_t)         ε_t ~ N(0, 1), independent for each unit

s is the whole state, for example h and c of an LSTM. The noise has the same σ for all units, in
the units of the state. A state that is stored in an attractor returns to it after each disturbance,
and holds at small σ for any number of steps. A state that is stored on a line of fixed points, as
by a linear integrator, drifts: after t steps its error has the variance σ² t. Derivatives say the
opposite: ∂s_T/∂s_t fades with T − t in an attractor, and stays 1 on a line of fixed points.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.batch import Batch
from lookback.errors import NotApplicable, UserError
from lookback.models.base import RecurrentEncoder, at_queries
from lookback.models.network import Network
from lookback.probes.batching import batches
from lookback.runtime.settings import require_positive
from lookback.training.run import Run
from lookback.training.skill import skill_of


class StateNoise:
    """Skill and lag of the answers to the first `sequences` test sequences, for each σ.

    `sigmas` are the standard deviations σ of the noise. The skill without noise (σ = 0) is always
    measured.
    """

    def __init__(self, sigmas: Sequence[float], sequences: int):
        require_positive("probe", sequences=sequences)
        if not sigmas or min(sigmas) <= 0:
            raise UserError(
                f"The probe's `sigmas` are {list(sigmas)}. Make them one or more numbers above 0."
            )
        self.sigmas = (0.0, *sorted(sigmas))
        self.sequences = sequences

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Table of skills and lags, with one row per σ and answer that has a lag.

        Columns:
            sigma: standard deviation of the noise, in the units of the state.
            sequence: index in the test split; the same sequences for every seed and model.
            lag: steps from the earliest evidence to the query.
            skill: no unit; 0 is the trivial baseline, 1 is perfect.

        Raises NotApplicable if the task does not define the lag of an answer, or if the network
        does not answer from a state that it carries from step to step.
        """
        encoder = run.model.encoder
        if not isinstance(encoder, RecurrentEncoder) or encoder.bidirectional:
            raise NotApplicable(
                f"a {type(encoder).__name__} does not answer from a state that each step receives"
            )
        dataset = run.dataset("test")
        if dataset.lag is None or not ((dataset.lag >= 0) & (dataset.query >= 0)).any():
            raise NotApplicable("the task does not know how long ago its evidence was")
        frames, start = [], 0
        for batch in batches(run.model, dataset, self.sequences):
            assert batch.lag is not None
            has_lag = (batch.query >= 0) & (batch.lag >= 0)
            sequence = (has_lag.nonzero()[:, 0] + start).numpy()
            for sigma in self.sigmas:
                answers = answers_under_noise(run.model, batch, sigma, generator)
                skill = skill_of(answers, batch, run.facts)[has_lag].double().numpy()
                columns = {"sequence": sequence, "lag": batch.lag[has_lag].numpy(), "skill": skill}
                frames.append(pd.DataFrame({"sigma": sigma, **columns}))
            start += len(batch.query)
        return pd.concat(frames, ignore_index=True).assign(threshold=run.facts.threshold)


@torch.no_grad()
def answers_under_noise(
    network: Network, batch: Batch, sigma: float, generator: torch.Generator
) -> Float[Tensor, "batch query output"]:
    """The answers if each step receives the state with noise of the standard deviation `sigma`.

    The encoder of the network must be recurrent and not bidirectional.
    """
    encoder = network.encoder
    assert isinstance(encoder, RecurrentEncoder)
    state, outputs = encoder.initial_state(len(batch.lengths)), []
    for step in network.embed(batch.inputs).unbind(dim=1):
        noise = torch.randn(state.shape, generator=generator, dtype=state.dtype)
        output, state = encoder.step(step, state + sigma * noise)
        outputs.append(output)
    answers: Tensor = network.head(at_queries(torch.stack(outputs, dim=1), batch.query))
    return answers
