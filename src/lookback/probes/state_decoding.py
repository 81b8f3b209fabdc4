"""State decoding: skill of a linear read-out of the evidence from the states, by distance.

The target is the raw input at the earliest evidence step of a sequence. If the input is a vector,
R² weights each feature by its variance. If the input is a token, the target is its one-hot code.

The read-out uses the states of all layers, concatenated, at a given distance in steps after the
evidence, up to the query. Each distance has a separate read-out, fitted on some test sequences and
evaluated on others (readout.py). The read-out hardly learns a token that occurs in few sequences.
Therefore a task with a large vocabulary has a low skill even at distance 0.

The control task is adapted from [hewitt2019]. The control read-out predicts the same inputs,
shuffled between the sequences. The original control task of [hewitt2019] maps each distinct input
to a fixed random input instead. A fixed map is a linear function of a one-hot token, so that a
linear read-out would learn the map too. The skill on shuffled inputs shows what the read-out
reaches by chance, by overfitting and by the choice of λ. The selectivity is skill - control.

If a sequence has several queries, the probe uses only its last query.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.errors import NotApplicable
from lookback.models.network import Network
from lookback.probes.readout import HeldOutReadout
from lookback.runtime.settings import require_positive
from lookback.training.run import Run

STEPS_AT_ONCE = 32_768  # Maximum of sequences × time in one batch, to limit memory.


class StateDecoding:
    """Skill of the read-out and of its control, by distance from the evidence, after training.

    The probe measures `sequences` random test sequences. A distance is measured only if the query
    of at least `minimum` sequences is that many steps or more after the evidence. `penalties` are
    the candidates for the ridge penalty λ.
    """

    def __init__(self, sequences: int, minimum: int, penalties: Sequence[float]):
        require_positive("probe", sequences=sequences, minimum=minimum)
        self.sequences = sequences
        self.minimum = minimum
        self.penalties = list(penalties)

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Skill of the read-out, with one row per distance that at least `minimum` sequences reach.

        Columns:
            distance: steps from the earliest evidence to the state.
            skill: R² on held-out sequences (no unit; 0 is the best constant, 1 is perfect).
            control: R² of the same read-out for shuffled inputs (no unit).

        Raises NotApplicable if the task does not mark its evidence, if fewer than `minimum`
        sequences have evidence, or if all sequences have the same target.
        """
        dataset = run.task().dataset("test")
        chosen = torch.randperm(len(dataset), generator=generator)[: self.sequences]
        places = Places.of(dataset, chosen)
        if len(places.rows) < self.minimum:
            raise NotApplicable(
                f"only {len(places.rows)} test sequences have evidence before the query, "
                f"and the probe needs {self.minimum}"
            )
        targets = places.inputs(dataset)
        if (targets == targets[0]).all():
            raise NotApplicable("the input at the first evidence step is the same in all sequences")
        shuffled = targets[torch.randperm(len(targets), generator=generator)]
        distances = places.distances(self.minimum)
        states = states_after(run.model, dataset, places, distances)
        rows = []
        for column, distance in enumerate(distances):
            is_reached = places.reach >= distance
            readout = HeldOutReadout(states[is_reached, column])
            rows.append(
                {
                    "distance": distance,
                    "skill": readout.skill(targets[is_reached], self.penalties),
                    "control": readout.skill(shuffled[is_reached], self.penalties),
                }
            )
        return pd.DataFrame(rows)


@dataclass(frozen=True)
class Places:
    """First evidence step of some sequences, and the number of steps from there to the query."""

    rows: Int[Tensor, " sequence"]  # index in the dataset
    first: Int[Tensor, " sequence"]  # the earliest step of evidence
    reach: Int[Tensor, " sequence"]  # steps from `first` to the query

    @classmethod
    def of(cls, dataset: SequenceDataset, rows: Int[Tensor, " sequence"]) -> "Places":
        """Places of the sequences in `rows` whose first evidence step is not after the query.

        Raises NotApplicable if the task does not mark its evidence.
        """
        columns = []
        for part in _parts(dataset, len(rows)):
            batch = at_last_query(dataset, rows[part])
            if batch.evidence is None:
                raise NotApplicable("the task does not say which steps decide an answer")
            evidence: Bool[Tensor, "batch time"] = batch.evidence[:, 0]
            first = evidence.int().argmax(dim=1)
            reach = torch.where(evidence.any(dim=1), batch.query[:, 0] - first, -1)
            columns.append(torch.stack([rows[part], first, reach]))
        places = torch.cat(columns, dim=1)
        return cls(*places[:, places[2] >= 0])

    def inputs(self, dataset: SequenceDataset) -> Float[Tensor, "sequence feature"]:
        """Raw inputs at the first evidence step, with tokens one-hot encoded.

        The one-hot code has a column only for tokens that occur at the first evidence step.
        """
        inputs = dataset.inputs[self.rows, self.first]
        if inputs.is_floating_point():
            return inputs.double()
        tokens: Tensor = torch.unique(inputs)
        return (inputs.unsqueeze(1) == tokens).double()

    def distances(self, minimum: int) -> list[int]:
        """The distances to measure: 0 and the rounded powers of √2, up to the largest distance.

        At least `minimum` sequences reach the largest distance, which is always measured.
        """
        last = int(self.reach.sort(descending=True).values[minimum - 1])
        powers = {round(2 ** (half / 2)) for half in range(2 * last.bit_length())}
        return sorted({0, last} | {distance for distance in powers if distance < last})


@torch.no_grad()
def states_after(
    network: Network, dataset: SequenceDataset, places: Places, distances: list[int]
) -> Float[Tensor, "sequence distance state"]:
    """States of all layers, concatenated, at each of `distances` steps after the evidence.

    If a distance is past the query, the state at the query is returned instead.
    """
    states_of_parts = []
    later = torch.minimum(torch.tensor(distances), places.reach.unsqueeze(1))
    step = (places.first.unsqueeze(1) + later).unsqueeze(-1)
    for part in _parts(dataset, len(step)):
        batch, at = at_last_query(dataset, places.rows[part], evidence=False), step[part]
        _, trace = network.trace(batch.inputs, batch.lengths, batch.query)
        layers = trace.states.values()
        states = [layer.gather(1, at.expand(-1, -1, layer.shape[-1])) for layer in layers]
        states_of_parts.append(torch.cat(states, dim=-1))
    return torch.cat(states_of_parts)


def at_last_query(
    dataset: SequenceDataset, rows: Int[Tensor, " batch"], *, evidence: bool = True
) -> Batch:
    """The sequences in `rows` with only their last query (Q = 1)."""
    return dataset.batch(rows, evidence=evidence).asked_last()


def _parts(dataset: SequenceDataset, count: int) -> Iterator[slice]:
    """Slices of `count` sequences with about STEPS_AT_ONCE time steps each."""
    size = max(1, STEPS_AT_ONCE // dataset.inputs.shape[1])
    return (slice(start, start + size) for start in range(0, count, size))
