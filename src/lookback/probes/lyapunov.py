"""Lyapunov exponents: rates at which a small change of the state grows or fades, λ_1 ≥ λ_2 ≥ ….

λ_i = lim 1/T ln σ_i(∂s_T/∂s_0)         σ_i: singular values, s: the whole state.

The whole state of an LSTM consists of h and c, so an LSTM with H units per layer has 2 H exponents
per layer. The inputs of each test sequence drive one trajectory of states, which starts at the
initial state.

If the largest exponent λ_1 is negative, two trajectories with the same inputs converge, and the
influence of the past shrinks by the factor e^λ_1 per step. If λ_1 is near 0, the state keeps the
influence of its past. If λ_1 is positive, the network is chaotic.

spectrum.py contains the algorithm and its sources. [engelken2023] measures the exponents of driven
recurrent networks. For an LSTM, the code of [vogt2020] uses only ∂h_t/∂h_{t-1} and so leaves out
the cell state, where an LSTM stores its memory.
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
    """Lyapunov exponents of a network, averaged over test sequences, before and after training.

    `steps` is the maximum total number of measured steps. The probe measures only whole test
    sequences, and always at least one sequence. `warm_up` is the share of each sequence that only
    aligns the basis vectors and does not count in the mean.
    """

    def __init__(self, steps: int, warm_up: float):
        require_positive("probe", steps=steps)
        self.steps = steps
        self.warm_up = warm_up

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Table of the Lyapunov exponents before and after training, computed in float64.

        Columns:
            stage: "initial" (before training) or "trained".
            index: rank of the exponent, 0 for the largest.
            exponent: nats per step; −∞ if a Jacobian is singular, NaN if the trajectory overflows.
            kaplan_yorke: Kaplan–Yorke dimension (no unit), the same in rows of equal `stage`.

        Raises NotApplicable if the network has no recurrent encoder or if that encoder is
        bidirectional.
        """
        dataset = run.dataset("test")
        stages = {"initial": run.initial(), "trained": deepcopy(run.model)}
        frames = []
        for stage, network in stages.items():
            exponents = self.exponents(network.double(), dataset)
            columns = {"index": range(len(exponents)), "exponent": exponents.numpy()}
            frame = pd.DataFrame({"stage": stage, **columns})
            frames.append(frame.assign(kaplan_yorke=kaplan_yorke(exponents)))
        return pd.concat(frames, ignore_index=True)

    def exponents(self, network: Network, dataset: SequenceDataset) -> Float[Tensor, " state"]:
        """Lyapunov exponents, in nats per step, averaged over the first sequences of `dataset`.

        The parameters of `network` must be float64.
        """
        encoder, spectra, steps_left = recurrence(network), list[Tensor](), self.steps
        for row, length in enumerate(dataset.lengths.tolist()):
            if spectra and length > steps_left:
                break
            steps_left -= length
            with torch.no_grad():
                inputs = dataset.batch(slice(row, row + 1)).inputs[:, :length]
                embedded = network.embed(in_float64(inputs))[0]
            spectra.append(driven_spectrum(encoder, embedded, warm_up=int(self.warm_up * length)))
        return torch.stack(spectra).mean(dim=0)


def driven_spectrum(
    encoder: RecurrentEncoder, inputs: Float[Tensor, "time feature"], *, warm_up: int
) -> Float[Tensor, " state"]:
    """Lyapunov exponents, in nats per step, along one sequence from the initial state.

    The first `warm_up` steps only align the basis vectors and do not count in the mean growth
    rates.
    """
    states = trajectory(encoder, inputs)
    return spectrum(jacobians(encoder, inputs, states), warm_up=warm_up)
