"""State decoding: skill of a linear read-out of the evidence from the states, by distance.

The target of the read-out is the raw input at the first step that holds evidence for the answer. If
the input is a vector, R² weights each feature by its variance. If the input is a token, the target
is the one-hot code of the token.

The read-out uses the concatenated states of all layers at one time step. This time step is a given
number of steps (the distance) after the evidence and not later than the query. Each distance has a
separate read-out, fitted on some test sequences and evaluated on others (readout.py). If the
vocabulary of a task is large, each token occurs in few sequences, so the read-out hardly learns the
tokens and its skill is low even at distance 0.

The control task is adapted from [hewitt2019]. The control read-out predicts the same targets after
they were shuffled between the sequences. The original control task of [hewitt2019] instead maps
each distinct input to a fixed random input. A fixed map of tokens is a linear function of the
one-hot codes, so a linear read-out would learn this map too. The skill on shuffled targets is the
skill that a read-out reaches by chance, by overfitting and by the choice of the penalty λ. The
selectivity is the skill of the read-out minus the skill of the control read-out.

If a sequence has several queries, the probe uses only the last query of the sequence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.errors import NotApplicable, UserError
from lookback.models.network import Network
from lookback.probes.readout import HeldOutReadout
from lookback.runtime.settings import require_positive
from lookback.training.run import Run

STEPS_AT_ONCE = 32_768  # Maximum of sequences × time steps in one batch, to limit memory.
FEWEST = 128  # Smallest number of sequences that a read-out is fitted, chosen and evaluated on.


class StateDecoding:
    """Skill of the read-out and of its control, by distance from the evidence, after training.

    The probe measures the first `sequences` test sequences. A distance is measured only if, in at
    least `minimum` sequences, the query comes at least that many steps after the evidence.
    `penalties` are the candidates for the ridge penalty λ.

    Raises UserError if `minimum` is below 128. Of 128 sequences, 32 evaluate the read-out. With
    fewer sequences, a read-out of pure noise often seems to find the evidence: the selectivity of
    64 noise units is above 0.5 in 14 % of all measurements with 8 sequences, in 4 % with 64
    sequences, and in none of 60 measurements with 128 sequences.
    """

    def __init__(self, sequences: int, minimum: int, penalties: Sequence[float]):
        require_positive("probe", sequences=sequences, minimum=minimum)
        if minimum < FEWEST:
            raise UserError(
                f"The probe's `minimum` is {minimum}, too few sequences to evaluate a read-out. "
                f"Make it {FEWEST} or more."
            )
        self.sequences = sequences
        self.minimum = minimum
        self.penalties = list(penalties)

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Table of skills, with one row per distance at which the skill is measured.

        Columns:
            distance: steps from the earliest evidence to the state.
            skill: R² on held-out sequences (no unit; 0 is the best constant, 1 is perfect).
            control: R² of a read-out of targets shuffled between the sequences (no unit).

        Raises NotApplicable if the task does not say which steps are evidence, if fewer than
        `minimum` sequences have evidence, or if all sequences have the same target.
        """
        dataset = run.dataset("test")
        # All seeds take the same sequences. Else each seed would end at a distance of its own.
        places = Places.of(dataset, torch.arange(min(self.sequences, len(dataset))))
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
    first: Int[Tensor, " sequence"]  # the earliest step of evidence, or the value of a pair
    reach: Int[Tensor, " sequence"]  # steps from `first` to the query

    @classmethod
    def of(cls, dataset: SequenceDataset, rows: Int[Tensor, " sequence"]) -> "Places":
        """Evidence steps of those sequences in `rows` whose first evidence is not after the query.

        Raises NotApplicable if the task does not say which steps are evidence.
        """
        columns = []
        for part in _parts(dataset, len(rows)):
            batch = at_last_query(dataset, rows[part])
            if batch.evidence is None:
                raise NotApplicable("the task does not say which steps decide an answer")
            evidence: Bool[Tensor, "batch time"] = batch.evidence[:, 0]
            first = evidence.int().argmax(dim=1)
            # Of a key and its value, which are the only evidence, the value is decoded.
            following = (first + 1).clamp(max=evidence.shape[1] - 1).unsqueeze(1)
            is_pair = (evidence.sum(dim=1) == 2) & evidence.gather(1, following)[:, 0]
            first = first + is_pair.int()
            reach = torch.where(evidence.any(dim=1), batch.query[:, 0] - first, -1)
            columns.append(torch.stack([rows[part], first, reach]))
        places = torch.cat(columns, dim=1)
        return cls(*places[:, places[2] >= 0])

    def inputs(self, dataset: SequenceDataset) -> Float[Tensor, "sequence feature"]:
        """Raw inputs at the first evidence step of each sequence, with tokens as one-hot codes.

        The one-hot code has columns only for the tokens that occur at a first evidence step.
        """
        inputs = dataset.inputs_at(self.rows, self.first)
        if inputs.is_floating_point():
            return inputs.double()
        tokens: Tensor = torch.unique(inputs)
        return (inputs.unsqueeze(1) == tokens).double()

    def distances(self, minimum: int) -> list[int]:
        """The distances to measure, which are 0, the rounded powers of √2 and the largest distance.

        The largest distance is the longest one that fits between evidence and query in at least
        `minimum` sequences.
        """
        last = int(self.reach.sort(descending=True).values[minimum - 1])
        powers = {round(2 ** (half / 2)) for half in range(2 * last.bit_length())}
        return sorted({0, last} | {distance for distance in powers if distance < last})


@torch.no_grad()
def states_after(
    network: Network, dataset: SequenceDataset, places: Places, distances: list[int]
) -> Float[Tensor, "sequence distance state"]:
    """Concatenated states of all layers, for each of `distances` steps after the evidence.

    If the step at a distance lies after the query, the function returns the state at the query
    instead.
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
    """Batch of the sequences at the indices `rows`, with only the last query of each (Q = 1)."""
    return dataset.batch(rows, evidence=evidence).asked_last()


def _parts(dataset: SequenceDataset, count: int) -> Iterator[slice]:
    """Slices that divide `count` sequences into parts of about STEPS_AT_ONCE time steps."""
    size = max(1, STEPS_AT_ONCE // dataset.inputs.shape[1])
    return (slice(start, start + size) for start in range(0, count, size))
