"""Memory capacity: how many past inputs a network's state stores, by Legendre degree.

input_t = m + √3 s u(t) p,  u ~ U(-1, 1) iid.

The vector m is the mean of the task's embedded test inputs, p is their first principal direction,
and s is their standard deviation along p. The random input has the mean and the main direction of
the task's inputs, and their variance along this direction, but not their temporal order. After each
step, a linear read-out reconstructs past inputs from the whole state of all layers (capacity.py).

The memory of a nonlinear network depends on the scale of its input [ballarin2025]. The probe
measures at the task's own scale, and once more the linear capacity after training at multiples of
it. All states are computed in float64. The states of a linear network of N units have N independent
directions, but the weakest are many orders of magnitude below the strongest [ballarin2023]. In
float32, or with a penalty that hides weak directions, the capacity of such a network is too small.

The probe measures how well a recurrent network remembers all of its inputs. A network that was
trained to ignore most of its inputs and to keep one of them has a low memory capacity.
"""

import math
from collections.abc import Sequence
from copy import deepcopy

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.errors import NotApplicable, UserError
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network
from lookback.probes.capacity import SAMPLES_PER_UNIT, capacities
from lookback.probes.jacobians import recurrence
from lookback.probes.precision import in_float64
from lookback.runtime.settings import require_positive
from lookback.training.run import Run

# A step of 32 parallel sequences takes little more time than a step of one sequence.
PARALLEL_SEQUENCES = 32
INPUT_STEPS = 65_536  # Number of test time steps used to estimate the input mean and direction.


class MemoryCapacity:
    """Memory capacity at each polynomial degree and delay, before and after training.

    The probe fits each read-out on at least `samples` states, at delays up to `max_delay` steps.
    `degrees` are the degrees of the Legendre polynomials. `ridge` is the penalty of the read-out,
    in units of the variance of a state unit. `scales` are the multiples of the task's own scale of
    the input at which the linear capacity after training is measured, too.

    Raises UserError if `samples` is below four times the number of delays. With fewer samples, the
    noise of the single capacities adds up to a wrong sum over all delays (capacity.py).
    """

    def __init__(
        self,
        max_delay: int,
        degrees: Sequence[int],
        samples: int,
        ridge: float,
        scales: Sequence[float],
    ):
        require_positive("probe", max_delay=max_delay, samples=samples)
        delays = max_delay + 1
        if samples < SAMPLES_PER_UNIT * delays:
            raise UserError(
                f"The probe's `samples` is {samples}, too few for {delays} delays (0 to "
                f"`max_delay`). Make `samples` {SAMPLES_PER_UNIT * delays} or more, or `max_delay` "
                "smaller."
            )
        self.samples = samples
        self.max_delay = max_delay
        self.degrees = list(degrees)
        self.steps = max_delay + math.ceil(samples / PARALLEL_SEQUENCES)
        self.ridge = ridge
        self.scales = list(scales)

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Table of the memory capacity before and after training, by polynomial degree and delay.

        Columns:
            stage: "initial" (before training) or "trained".
            degree: degree of the Legendre polynomial; 1 is linear memory.
            scale: scale of the input, as a multiple of the task's own scale.
            delay: steps from the input to the state.
            raw: R² of the read-out before the bias is removed (no unit).
            capacity: R² after the bias is removed (no unit), which may be slightly negative.
            bound: number of state units, the upper bound of the sum of all capacities.

        Raises NotApplicable if the network has no recurrent encoder, if the encoder is
        bidirectional, if the state overflows, or if `samples` is below four times the number of
        state units. With fewer samples, the read-out fits any target (capacity.py).
        """
        units = recurrence(run.model).initial_state(1).shape[1]
        if self.samples < SAMPLES_PER_UNIT * units:
            raise NotApplicable(
                f"a state of {units} units needs {SAMPLES_PER_UNIT * units} samples or more, and "
                f"the probe's `samples` is {self.samples}"
            )
        dataset = run.dataset("test")
        drive = 2 * torch.rand(PARALLEL_SEQUENCES, self.steps, generator=generator).double() - 1
        frames = []
        for stage, network in {"initial": run.initial(), "trained": deepcopy(run.model)}.items():
            network = network.double()
            mean, axis = direction(network, dataset)
            others = self.scales if stage == "trained" else []
            for scale in (1.0, *(scale for scale in others if scale != 1)):
                inputs = mean + scale * drive.unsqueeze(-1) * axis
                states = driven_states(recurrence(network), inputs)
                if scale == 1 and not states.isfinite().all():
                    raise NotApplicable(f"the {stage} state overflows within {self.steps} steps")
                if states.isfinite().all():
                    frame = capacities(
                        states,
                        drive,
                        degrees=self.degrees if scale == 1 else [1],
                        max_delay=self.max_delay,
                        ridge=self.ridge,
                    )
                    frames.append(frame.assign(stage=stage, scale=scale, bound=units))
        order = ["stage", "degree", "scale", "delay", "raw", "capacity", "bound"]
        return pd.concat(frames, ignore_index=True)[order]


@torch.no_grad()
def direction(
    network: Network, dataset: SequenceDataset
) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
    """The mean m and the scaled direction √3 s p of the task's embedded inputs, in float64.

    The parameters of `network` must be float64.

    The sign of the direction p is chosen so that its component with the largest magnitude is
    positive.
    """
    size = max(1, INPUT_STEPS // dataset.inputs.shape[1])
    batch = dataset.batch(slice(size))
    valid = torch.arange(batch.inputs.shape[1]) < batch.lengths.unsqueeze(1)
    embedded = network.embed(in_float64(batch.inputs))[valid].double()
    mean = embedded.mean(dim=0)
    centred = embedded - mean
    variance, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    p = axes[:, -1]
    p = p * p[p.abs().argmax()].sign()
    return mean, math.sqrt(3) * variance[-1].clamp(min=0).sqrt() * p


@torch.no_grad()
def driven_states(
    encoder: RecurrentEncoder, inputs: Float[Tensor, "batch time feature"]
) -> Float[Tensor, "batch time state"]:
    """The whole state of the encoder after each input, computed with the encoder's `step`."""
    state = encoder.initial_state(len(inputs))
    states = []
    for input in inputs.unbind(1):
        _, state = encoder.step(input, state)
        states.append(state)
    return torch.stack(states, dim=1)
