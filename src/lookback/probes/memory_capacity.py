"""How many of its past inputs a network's state holds, linearly and by Legendre polynomials.

input_t = m + √3 s u(t) p,  u ~ U(-1, 1) iid

m is the mean of the task's embedded test inputs, p their first principal direction, and s the
standard deviation along it: the drive has the task's place, direction and strength, and nothing
of its order. The state is read out whole, all layers of it, after each step: capacity.py.

What is asked is the recurrence's memory of all that it sees. A network that was trained to pass
over most of its inputs, and to keep one, has little of it.
"""

import math
from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.errors import NotApplicable
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network
from lookback.probes.capacity import capacities
from lookback.probes.jacobians import recurrence
from lookback.runtime.settings import require_positive
from lookback.training.run import Run

SIDE_BY_SIDE = 32  # sequences: a step of 32 costs little more than one of 1
SEEN_STEPS = 65_536  # of the test inputs, from which their direction is taken


class MemoryCapacity:
    """Capacity of each delay and degree, before training and after."""

    def __init__(self, max_delay: int, degrees: Sequence[int], samples: int, ridge: float):
        require_positive("probe", max_delay=max_delay, samples=samples)
        self.max_delay = max_delay
        self.degrees = list(degrees)
        self.steps = max_delay + math.ceil(samples / SIDE_BY_SIDE)
        self.ridge = ridge

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """One row per stage, degree and delay.

        Columns: stage ("initial", "trained"), degree (1 is linear), delay in steps, raw (R² as
        found), capacity (its bias removed; may be slightly negative), bound (the size of the
        state, which no sum of capacities exceeds).

        Raises NotApplicable where the network carries no state, or the state overflows.
        """
        dataset = run.task().dataset("test")
        drive = 2 * torch.rand(SIDE_BY_SIDE, self.steps, generator=generator) - 1
        frames = []
        for stage, network in {"initial": run.initial(), "trained": run.model}.items():
            encoder = recurrence(network)
            mean, swing = direction(network, dataset)
            states = driven(encoder, mean + drive.unsqueeze(-1) * swing)
            if not states.isfinite().all():
                raise NotApplicable(f"the {stage} state overflows within {self.steps} steps")
            frame = capacities(
                states,
                drive,
                degrees=self.degrees,
                max_delay=self.max_delay,
                ridge=self.ridge,
            )
            frames.append(frame.assign(stage=stage, bound=states.shape[-1]))
        order = ["stage", "degree", "delay", "raw", "capacity", "bound"]
        return pd.concat(frames, ignore_index=True)[order]


@torch.no_grad()
def direction(
    network: Network, dataset: SequenceDataset
) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
    """Of the embedded inputs: m and √3 s p, signed so that p's largest part is positive."""
    size = max(1, SEEN_STEPS // dataset.inputs.shape[1])
    inputs, lengths = dataset.inputs[:size], dataset.lengths[:size]
    there = torch.arange(inputs.shape[1]) < lengths.unsqueeze(1)
    seen = network.embed(inputs)[there].double()
    mean = seen.mean(dim=0)
    centred = seen - mean
    variance, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    p = axes[:, -1]
    p = p * p[p.abs().argmax()].sign()
    return mean.float(), (math.sqrt(3) * variance[-1].clamp(min=0).sqrt() * p).float()


@torch.no_grad()
def driven(
    encoder: RecurrentEncoder, inputs: Float[Tensor, "batch time feature"]
) -> Float[Tensor, "batch time state"]:
    """The whole state after each step, by the equations."""
    state = encoder.initial_state(len(inputs))
    states = []
    for input in inputs.unbind(1):
        _, state = encoder.step(input, state)
        states.append(state)
    return torch.stack(states, dim=1)
