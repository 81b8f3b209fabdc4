"""Memory timescale of each unit: τ = -1 / ⟨ln f_t⟩ steps, with f_t the gate that keeps the state.

Over n steps, a gated state s_t = f_t s_{t-1} + … keeps the share Π f_t = e^(-n/τ) of its value. The
timescale τ follows from ⟨ln f_t⟩, the mean of the logarithm of the gate f_t over steps and
sequences.

The gate that keeps the state is f in an LSTM, z in a GRU and 1 - z in a minGRU (method `log_kept`
of each model). An LRU has no gates. In an LRU, the magnitude |Λ| of an eigenvalue takes the place
of the gate f_t and does not depend on the input (method `log_decays`). The initialisation `chrono`
of [tallec2018] aims at timescales τ that differ between the units, up to the length T of the task's
sequences.

A gate is left-saturated if its value is below 0.1, and right-saturated if its value is above 0.9
([karpathy2015], section 4.2).
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.errors import NotApplicable
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network
from lookback.probes.precision import in_float64
from lookback.runtime.settings import require_positive
from lookback.training.run import Run

STEPS_AT_ONCE = 16_384  # Maximum of sequences × time steps in one batch, to limit memory.
# Names of all gates that have a sigmoid. Candidate states are not gates.
GATES = ("forget", "input", "output", "update", "reset")
LEFT, RIGHT = 0.1, 0.9


class GateTimescales:
    """Memory timescale and gate saturation of each unit of a trained network.

    The probe averages over the first `sequences` test sequences.
    """

    def __init__(self, sequences: int):
        require_positive("probe", sequences=sequences)
        self.sequences = sequences

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Table of timescales and saturations, with one row per gate, layer and unit.

        The computation uses float64.

        Columns:
            gate: name of the gate as in `Trace.gates`, or "eigenvalue".
            layer: index of the layer, from 0.
            unit: index of the unit in its layer, from 0.
            timescale: τ in steps, or NaN for a gate that does not keep the state.
            left_saturated: share of steps with the gate below 0.1, or NaN for an eigenvalue.
            right_saturated: share of steps with the gate above 0.9, or NaN for an eigenvalue.
            aimed: longest timescale that `chrono` aims at, in steps, or NaN for any other
                initialisation and for a gate that does not keep the state.

        The input, output and reset gates do not keep the state, so their timescale is NaN.

        Raises NotApplicable if the model has neither gates nor eigenvalues.
        """
        network = deepcopy(run.model).double()
        encoder = network.encoder
        # An attention model has its recurrent encoder in the attribute `encoder`.
        inner = getattr(encoder, "encoder", encoder)
        if isinstance(inner, RecurrentEncoder):
            if decays := inner.log_decays():
                return _of_eigenvalues(decays)
            if sums_by_gate := self._gate_sums(network, inner, run.dataset("test")):
                chrono = run.config["recipe"]["initialisation"]["forget_bias"] == "chrono"
                aimed = float(run.facts.length) if chrono else torch.nan
                rows = [_rows(name, sums, aimed) for name, sums in sums_by_gate.items()]
                return pd.concat(rows, ignore_index=True)
        raise NotApplicable(f"a {type(inner).__name__} has no gates")

    def _gate_sums(
        self, network: Network, encoder: RecurrentEncoder, dataset: SequenceDataset
    ) -> dict[str, "GateSums"]:
        """Statistics of each gate, summed over all time steps of the measured sequences.

        Each key of the result is a key of `Trace.gates`, for example "forget/0".
        """
        end, sums_by_gate = min(self.sequences, len(dataset)), dict[str, GateSums]()
        size = max(1, STEPS_AT_ONCE // dataset.inputs.shape[1])
        for start in range(0, end, size):
            batch = dataset.batch(slice(start, min(start + size, end))).asked_last()
            inputs = in_float64(batch.inputs)
            _, trace = network.trace(inputs, batch.lengths, batch.query)
            valid = torch.arange(inputs.shape[1]) < batch.lengths.unsqueeze(1)
            for name, values in _sigmoids(trace.gates):
                gate = values[valid]
                sums = GateSums.of(gate, encoder.log_kept(_kind(name), gate))
                if name in sums_by_gate:
                    sums = sums_by_gate[name] + sums
                sums_by_gate[name] = sums
        return sums_by_gate


@dataclass(frozen=True)
class GateSums:
    """Statistics of one gate, summed over time steps, with one entry per unit."""

    steps: int
    kept: Float[Tensor, " unit"]  # Sum of ln f, or NaN if the gate does not keep the state.
    left: Float[Tensor, " unit"]  # number of steps below LEFT
    right: Float[Tensor, " unit"]  # number of steps above RIGHT

    @classmethod
    def of(
        cls, gate: Float[Tensor, "step unit"], log_kept: Float[Tensor, "step unit"] | None
    ) -> "GateSums":
        """Count the steps at which a gate is saturated, and sum ln f over all steps."""
        left, right = (gate < LEFT).sum(dim=0).double(), (gate > RIGHT).sum(dim=0).double()
        kept = torch.full_like(left, torch.nan) if log_kept is None else log_kept.sum(dim=0)
        return cls(len(gate), kept, left, right)

    def __add__(self, other: "GateSums") -> "GateSums":
        return GateSums(
            self.steps + other.steps,
            self.kept + other.kept,
            self.left + other.left,
            self.right + other.right,
        )


def _kind(name: str) -> str:
    """Name of a gate without direction and layer, for example "forget" for "forget_reverse/0"."""
    return name.split("/")[0].removesuffix("_reverse")


def _sigmoids(gates: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, values in gates.items():
        if _kind(name) in GATES:
            yield name, values


def timescale(log_kept: Float[Tensor, " unit"]) -> Float[Tensor, " unit"]:
    """Timescale τ = -1 / ⟨ln f⟩ in steps, from the mean ⟨ln f⟩ of each unit.

    The timescale τ is 0 if the gate was exactly 0 at any step, and ∞ if the gate was 1 at every
    step.
    """
    return 1 / log_kept.abs()  # If ln f = 0, -1 / ln f is -∞, but abs() makes τ = +∞.


def _rows(name: str, sums: GateSums, aimed: float) -> pd.DataFrame:
    """Table of the timescales and saturations of one gate in one layer, with one row per unit."""
    gate, layer = name.split("/")
    tau = timescale(sums.kept / sums.steps)
    return pd.DataFrame(
        {
            "gate": gate,
            "layer": int(layer),
            "unit": range(len(tau)),
            "timescale": tau.numpy(),
            "left_saturated": (sums.left / sums.steps).numpy(),
            "right_saturated": (sums.right / sums.steps).numpy(),
            "aimed": torch.nan if sums.kept.isnan().all() else aimed,
        }
    )


def _of_eigenvalues(decays: Sequence[Float[Tensor, " unit"]]) -> pd.DataFrame:
    """Table of the timescales of the eigenvalues, with one row per unit.

    `decays` holds ln |Λ| of each layer. An eigenvalue is not a gate, so its saturation is NaN.
    """
    frames = [
        pd.DataFrame({"layer": layer, "unit": range(len(tau)), "timescale": tau.numpy()})
        for layer, tau in enumerate(map(timescale, decays))
    ]
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(0, "gate", "eigenvalue")
    return frame.assign(left_saturated=torch.nan, right_saturated=torch.nan, aimed=torch.nan)
