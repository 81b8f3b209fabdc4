"""How long each unit keeps what it holds: τ = -1 / ⟨ln f_t⟩ in steps, f_t the gate that keeps.

A state behind a gate alone, s_t = f_t s_{t-1} + …, keeps Π f_t = e^(-n/τ) of itself over n steps,
so the mean ⟨⟩, over steps and sequences, is that of the logarithm.

Which gate that is, each model says (`log_kept`): f of an LSTM, z of a GRU, 1 - z of a minGRU. |Λ|
of an LRU («eigenvalue») is no gate, since no input changes it (`log_decays`). Tallec & Ollivier
2018, "Can recurrent neural networks warp time?", whose `chrono` initialisation aims at τ spread up
to T, the task's length.

A gate is saturated to the left below 0.1, to the right above 0.9: Karpathy, Johnson & Fei-Fei 2015,
"Visualizing and understanding recurrent networks", section 4.2.
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

STEPS_AT_ONCE = 16_384  # sequences × time in one batch: bounds the memory of the opened gates
GATES = ("forget", "input", "output", "update", "reset")  # each of them a σ: a candidate is none
LEFT, RIGHT = 0.1, 0.9


class GateTimescales:
    """Of each unit of a trained network, over `sequences` of the test split."""

    def __init__(self, sequences: int):
        require_positive("probe", sequences=sequences)
        self.sequences = sequences

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """One row per gate, layer and unit.

        Columns: gate (as in `Trace.gates`, or "eigenvalue"), layer, unit, timescale (steps, NaN of
        a gate that does not keep the state: input, output, reset), left_saturated and
        right_saturated (shares of steps; NaN of an eigenvalue), aimed (the longest timescale that
        `chrono` aims at, NaN of other recipes and gates). In float64.
        """
        network = deepcopy(run.model).double()
        encoder = network.encoder
        inner = getattr(encoder, "encoder", encoder)  # what attention looks back over
        if isinstance(inner, RecurrentEncoder):
            if decays := inner.log_decays():
                return _of_eigenvalues(decays)
            if sums := self._summed(network, inner, run.task().dataset("test")):
                chrono = run.config["recipe"]["initialisation"]["forget_bias"] == "chrono"
                aimed = float(run.facts.length) if chrono else torch.nan
                rows = [_rows(name, of_gate, aimed) for name, of_gate in sums.items()]
                return pd.concat(rows, ignore_index=True)
        raise NotApplicable(f"a {type(inner).__name__} has no gates")

    def _summed(
        self, network: Network, encoder: RecurrentEncoder, dataset: SequenceDataset
    ) -> dict[str, "Sums"]:
        end, whole = min(self.sequences, len(dataset)), dict[str, Sums]()
        size = max(1, STEPS_AT_ONCE // dataset.inputs.shape[1])
        for start in range(0, end, size):
            batch = dataset.batch(slice(start, min(start + size, end))).asked_last()
            inputs = in_float64(batch.inputs)
            _, trace = network.trace(inputs, batch.lengths, batch.query)
            there = torch.arange(inputs.shape[1]) < batch.lengths.unsqueeze(1)
            for name, values in _sigmoids(trace.gates):
                gate = values[there]
                of_batch = Sums.of(gate, encoder.log_kept(_kind(name), gate))
                whole[name] = whole[name] + of_batch if name in whole else of_batch
        return whole


@dataclass(frozen=True)
class Sums:
    """Of one gate over steps, unit by unit."""

    steps: int
    kept: Float[Tensor, " unit"]  # of ln f; NaN of a gate that does not keep the state
    left: Float[Tensor, " unit"]  # of steps below LEFT
    right: Float[Tensor, " unit"]  # of steps above RIGHT

    @classmethod
    def of(
        cls, gate: Float[Tensor, "step unit"], log_kept: Float[Tensor, "step unit"] | None
    ) -> "Sums":
        """The sums over the steps of a gate."""
        left, right = (gate < LEFT).sum(dim=0).double(), (gate > RIGHT).sum(dim=0).double()
        kept = torch.full_like(left, torch.nan) if log_kept is None else log_kept.sum(dim=0)
        return cls(len(gate), kept, left, right)

    def __add__(self, more: "Sums") -> "Sums":
        return Sums(
            self.steps + more.steps,
            self.kept + more.kept,
            self.left + more.left,
            self.right + more.right,
        )


def _kind(name: str) -> str:
    """A gate's own name, whatever its layer and direction."""
    return name.split("/")[0].removesuffix("_reverse")


def _sigmoids(gates: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, values in gates.items():
        if _kind(name) in GATES:
            yield name, values


def timescale(log_kept: Float[Tensor, " unit"]) -> Float[Tensor, " unit"]:
    """-1 / ⟨ln f⟩ in steps: 0 where a gate once shut, ∞ where it never let go."""
    return 1 / log_kept.abs()  # no logarithm of a gate is above 0


def _rows(name: str, sums: Sums, aimed: float) -> pd.DataFrame:
    """The rows of one gate of one layer."""
    gate, layer = name.split("/")
    kept = timescale(sums.kept / sums.steps)
    return pd.DataFrame(
        {
            "gate": gate,
            "layer": int(layer),
            "unit": range(len(kept)),
            "timescale": kept.numpy(),
            "left_saturated": (sums.left / sums.steps).numpy(),
            "right_saturated": (sums.right / sums.steps).numpy(),
            "aimed": torch.nan if sums.kept.isnan().all() else aimed,
        }
    )


def _of_eigenvalues(decays: Sequence[Float[Tensor, " unit"]]) -> pd.DataFrame:
    """A row a unit: what it keeps is the same at every step, and no gate."""
    frames = [
        pd.DataFrame({"layer": layer, "unit": range(len(kept)), "timescale": kept.numpy()})
        for layer, kept in enumerate(map(timescale, decays))
    ]
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(0, "gate", "eigenvalue")
    return frame.assign(left_saturated=torch.nan, right_saturated=torch.nan, aimed=torch.nan)
