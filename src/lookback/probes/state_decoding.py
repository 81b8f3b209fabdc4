"""How much of the evidence the states still hold, by the steps since: skill of a linear read-out.

The target is the raw input at the earliest step of a sequence's evidence: its features, each by
its variance, or its token, one-hot. What is read are the states of all layers side by side, at
that step and so many steps after it, up to the answer. Each distance has a read-out of its own,
fitted on some test sequences and judged on others: readout.py. A token that few of the sequences
hold is hardly learned, so with a large vocabulary the skill is low from the start.

The control task, after Hewitt & Liang 2019, "Designing and interpreting probes with control
tasks", asks the same read-out for the same inputs shuffled between the sequences. Theirs gives each
distinct input another at random and keeps to it; that is as linear a function of a token as the
token itself, so it would be found as well. What is left after shuffling is what the read-out gets
by luck, fit and choice: selectivity is skill - control.

A task that asks often is asked for the last of a sequence's queries.
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

STEPS_AT_ONCE = 32_768  # sequences × time in one batch: bounds the memory of the states


class StateDecoding:
    """Skill and control by distance from the evidence, after training."""

    def __init__(self, sequences: int, minimum: int, penalties: Sequence[float]):
        require_positive("probe", sequences=sequences, minimum=minimum)
        self.sequences = sequences
        self.minimum = minimum
        self.penalties = list(penalties)

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """One row per distance that at least `minimum` sequences reach.

        Columns: distance in steps after the evidence, skill (R² on held-out sequences; 0 is
        the best constant, 1 is all), control (the same of shuffled inputs).

        Raises NotApplicable where the task says no evidence, too few sequences have one, or all
        have the same.
        """
        dataset = run.task().dataset("test")
        chosen = torch.randperm(len(dataset), generator=generator)[: self.sequences]
        places = Places.of(dataset, chosen)
        if len(places.rows) < self.minimum:
            raise NotApplicable(f"only {len(places.rows)} test sequences have evidence to look for")
        targets = places.inputs(dataset)
        if (targets == targets[0]).all():
            raise NotApplicable("the input at the first evidence is the same in all sequences")
        shuffled = targets[torch.randperm(len(targets), generator=generator)]
        distances = places.distances(self.minimum)
        states = states_after(run.model, dataset, places, distances)
        rows = []
        for place, distance in enumerate(distances):
            reaches = places.reach >= distance
            readout = HeldOutReadout(states[reaches, place])
            rows.append(
                {
                    "distance": distance,
                    "skill": readout.skill(targets[reaches], self.penalties),
                    "control": readout.skill(shuffled[reaches], self.penalties),
                }
            )
        return pd.DataFrame(rows)


@dataclass(frozen=True)
class Places:
    """Where the evidence of some sequences begins, and how far after it they are asked."""

    rows: Int[Tensor, " sequence"]  # in the dataset
    first: Int[Tensor, " sequence"]  # the earliest step of evidence
    reach: Int[Tensor, " sequence"]  # steps from there to the query

    @classmethod
    def of(cls, dataset: SequenceDataset, rows: Int[Tensor, " sequence"]) -> "Places":
        """Of those of `rows` whose evidence is not later than its query.

        Raises NotApplicable where the task says no evidence.
        """
        found = []
        for part in _parts(dataset, len(rows)):
            batch = asked(dataset, rows[part])
            if batch.evidence is None:
                raise NotApplicable("the task does not say which steps decide an answer")
            evidence: Bool[Tensor, "batch time"] = batch.evidence[:, 0]
            first = evidence.int().argmax(dim=1)
            reach = torch.where(evidence.any(dim=1), batch.query[:, 0] - first, -1)
            found.append(torch.stack([rows[part], first, reach]))
        places = torch.cat(found, dim=1)
        return cls(*places[:, places[2] >= 0])

    def inputs(self, dataset: SequenceDataset) -> Float[Tensor, "sequence feature"]:
        """The raw inputs where the evidence begins; a column for each token that occurs there."""
        inputs = dataset.inputs[self.rows, self.first]
        if inputs.is_floating_point():
            return inputs.double()
        tokens: Tensor = torch.unique(inputs)
        return (inputs.unsqueeze(1) == tokens).double()

    def distances(self, minimum: int) -> list[int]:
        """0, 1 and about two an octave, all powers of two; the last that `minimum` reach."""
        last = int(self.reach.sort(descending=True).values[minimum - 1])
        spaced = {round(2 ** (half / 2)) for half in range(2 * last.bit_length())}
        return sorted({0, last} | {distance for distance in spaced if distance < last})


@torch.no_grad()
def states_after(
    network: Network, dataset: SequenceDataset, places: Places, distances: list[int]
) -> Float[Tensor, "sequence distance state"]:
    """All states side by side, so many steps after the evidence; past the query, of the query."""
    found = []
    later = torch.minimum(torch.tensor(distances), places.reach.unsqueeze(1))
    step = (places.first.unsqueeze(1) + later).unsqueeze(-1)
    for part in _parts(dataset, len(step)):
        batch, at = asked(dataset, places.rows[part], evidence=False), step[part]
        _, trace = network.trace(batch.inputs, batch.lengths, batch.query)
        states = trace.states.values()
        kept = [state.gather(1, at.expand(-1, -1, state.shape[-1])) for state in states]
        found.append(torch.cat(kept, dim=-1))
    return torch.cat(found)


def asked(dataset: SequenceDataset, rows: Int[Tensor, " batch"], *, evidence: bool = True) -> Batch:
    """Some sequences, at the last of their queries."""
    return dataset.batch(rows, evidence=evidence).asked_last()


def _parts(dataset: SequenceDataset, count: int) -> Iterator[slice]:
    """Slices of `count` sequences, each of about as many steps."""
    size = max(1, STEPS_AT_ONCE // dataset.inputs.shape[1])
    return (slice(start, start + size) for start in range(0, count, size))
