"""How fast a small change of the state grows or fades: Lyapunov exponents, λ_1 ≥ λ_2 ≥ ….

λ_i = lim 1/T ln σ_i(∂s_T/∂s_0), σ_i the singular values, s the whole state (of an LSTM [h; c],
2 H of them), along the trajectory that the test split's own sequences drive, each from its start.

λ_1 < 0: two states that see the same inputs come together, a past forgotten at e^λ_1 a step; near 0
it is kept, above 0 the network is chaotic. spectrum.py has the algorithm and its sources; driven
recurrent networks: Engelken, Wolf & Abbott 2023, "Lyapunov spectra of chaotic recurrent neural
networks". Vogt et al. 2020, "On Lyapunov exponents for RNNs", use ∂h_t/∂h_{t-1} alone for an LSTM
in their code, which leaves out the cell, where its memory is.
"""

from copy import deepcopy

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network
from lookback.probes.jacobians import jacobians, recurrence, trajectory
from lookback.probes.precision import in_float64
from lookback.probes.spectrum import kaplan_yorke, spectrum
from lookback.runtime.settings import require_positive
from lookback.training.run import Run


class Lyapunov:
    """The spectrum, mean over sequences, before training and after.

    `steps`: of the test split, in whole sequences, at least one; `warm_up`: the share of each
    sequence that turns the basis and does not count.
    """

    def __init__(self, steps: int, warm_up: float):
        require_positive("probe", steps=steps)
        self.steps = steps
        self.warm_up = warm_up

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """One row per stage and exponent.

        Columns: stage ("initial", "trained"), index (0 = largest), exponent (nats a step; −∞ where
        a Jacobian is singular, NaN where the trajectory overflows), kaplan_yorke (dimension, the
        same on each row of a stage). In float64.
        """
        dataset = run.task().dataset("test")
        stages = {"initial": run.initial(), "trained": deepcopy(run.model)}
        frames = []
        for stage, network in stages.items():
            exponents = self.exponents(network.double(), dataset)
            columns = {"index": range(len(exponents)), "exponent": exponents.numpy()}
            frame = pd.DataFrame({"stage": stage, **columns})
            frames.append(frame.assign(kaplan_yorke=kaplan_yorke(exponents)))
        return pd.concat(frames, ignore_index=True)

    def exponents(self, network: Network, dataset: SequenceDataset) -> Float[Tensor, " state"]:
        """The mean spectrum of a network in float64 over the first sequences of `dataset`."""
        encoder, found, left = recurrence(network), list[Tensor](), self.steps
        for row, length in enumerate(dataset.lengths.tolist()):
            if found and length > left:
                break
            left -= length
            with torch.no_grad():
                embedded = network.embed(in_float64(dataset.inputs[row : row + 1, :length]))[0]
            found.append(driven_spectrum(encoder, embedded, warm_up=int(self.warm_up * length)))
        return torch.stack(found).mean(dim=0)


def driven_spectrum(
    encoder: RecurrentEncoder, inputs: Float[Tensor, "time feature"], *, warm_up: int
) -> Float[Tensor, " state"]:
    """The exponents along one sequence from the initial state, the first `warm_up` steps apart."""
    states = trajectory(encoder, inputs)
    return spectrum(jacobians(encoder, inputs, states), warm_up=warm_up)
