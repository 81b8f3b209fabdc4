from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from lookback.data.batch import SequenceDataset
from lookback.data.content import digest_of
from lookback.data.task import Facts, Task
from lookback.errors import NotApplicable, UserError
from lookback.models.base import SequenceModel, Trace, at_queries
from lookback.models.network import Network
from lookback.probes.state_decoding import Places, StateDecoding, states_after
from lookback.training.run import Run, load_runs
from tests.cells import GRU, MARKED, write_cell

KEPT = 5  # steps
PENALTIES = [1e-6, 1e-3, 1.0, 1e3]


class DelayLine(SequenceModel):
    """A state that holds the last `KEPT` + 1 inputs exactly, beside noise, and nothing older."""

    output_size = 1

    def trace(self, inputs, lengths, query, *, differentiable=False):
        shifted = [inputs.roll(step, 1) for step in range(KEPT + 1)]
        line = torch.cat(shifted, dim=-1)
        noise = torch.rand(*inputs.shape[:2], 3, generator=torch.Generator().manual_seed(1))
        return Trace(at_queries(line[..., :1], query), {"hidden/0": line, "hidden/1": noise})

    def forward(self, inputs, lengths, query):
        return self.trace(inputs, lengths, query).features

    def initialise(self, initialisation):
        pass


class Noise(DelayLine):
    """A state of noise alone."""

    def trace(self, inputs, lengths, query, *, differentiable=False):
        trace = super().trace(inputs, lengths, query)
        return replace(trace, states={"hidden/0": trace.states["hidden/1"]})


class Told(Task):
    """Evidence begins at the step that the last input says, 0 to 7 of 24; asked twice."""

    def __init__(self, tokens: bool = False, count: int = 2400, **changes):
        self.tokens, self.count, self.changes = tokens, count, changes

    def facts(self) -> Facts:
        sizes = dict.fromkeys(("train", "validation", "test"), self.count)
        return Facts(
            "value", self.tokens, 8 if self.tokens else 2, 24, 1, "mse", 1.0, "none", sizes
        )

    def dataset(self, split) -> SequenceDataset:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.rand(self.count, 24, 2, generator=generator)
        if self.tokens:
            inputs = (8 * inputs[..., 0]).long()
        inputs[:, -1] = (torch.arange(self.count) % 8).view(-1, *[1] * (inputs.dim() - 2))
        data = SequenceDataset(
            inputs=inputs,
            lengths=torch.full((self.count,), 24),
            query=torch.tensor([[22, 23]]).repeat(self.count, 1),
            target=torch.zeros(self.count, 2, 1),
            evidence=evidence,
        )
        return replace(data, **self.changes)


def evidence(inputs):
    """The first step, and a later one, which is not looked for."""
    first = inputs[:, -1].flatten(1)[:, :1] if inputs.dim() == 3 else inputs[:, -1:]
    told = torch.arange(24) == first.long()
    return (told | (torch.arange(24) == 20)).unsqueeze(1).repeat(1, 2, 1)


@dataclass(frozen=True)
class PlantedRun(Run):
    """A run of no cell."""

    planted: Task

    def task(self, **changes) -> Task:
        return self.planted


def found(encoder: nn.Module, task: Task, **settings):
    embedding = nn.Embedding(8, 8) if task.facts().tokens else None
    network = Network(encoder, 1, embedding)
    digests = {split: digest_of(task.dataset(split)) for split in ("train", "test")}
    run = PlantedRun(0, {}, {}, task.facts(), network, digests, task)
    probe = StateDecoding(**{"sequences": 2400, "minimum": 400, "penalties": PENALTIES} | settings)
    return probe.measure(run, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tokens", [False, True])
def test_a_planted_delay_line_is_read_to_its_last_step_and_not_after(tokens):
    torch.manual_seed(0)
    frame = found(DelayLine(), Told(tokens)).set_index("distance")
    assert frame.index.tolist() == [0, 1, 2, 3, 4, 6, 8, 11, 16, 22]
    np.testing.assert_allclose(frame.skill[:KEPT], 1, atol=1e-4)
    np.testing.assert_allclose(frame.skill[KEPT + 1 :], 0, atol=0.1)
    np.testing.assert_allclose(frame.control, 0, atol=0.1)


def test_noise_in_place_of_states_holds_nothing():
    frame = found(Noise(), Told())
    np.testing.assert_allclose(frame[["skill", "control"]], 0, atol=0.1)


def test_a_distance_that_too_few_sequences_reach_has_no_row():
    """Evidence at 0 to 7, asked at 23: an eighth of them reach 23."""
    assert found(DelayLine(), Told(), minimum=300).distance.max() == 23
    assert found(DelayLine(), Told(), minimum=301).distance.max() == 22


def test_each_state_is_taken_at_its_own_step_whatever_the_chunk(monkeypatch):
    monkeypatch.setattr("lookback.probes.state_decoding.STEPS_AT_ONCE", 24 * 7)
    data = Told(count=20).dataset("test")
    places = Places.of(data, torch.tensor([3, 9, 17] * 6))
    assert places.first.tolist() == [3, 1, 1] * 6
    states = states_after(Network(DelayLine(), 1), data, places, [0, 2])
    for row, place, distance in ((0, 0, 0), (16, 1, 2), (17, 0, 0)):
        step = places.first[row] + distance
        assert torch.equal(states[row, place, :2], data.inputs[places.rows[row], step])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"evidence": None}, "does not say which steps"),
        ({"query": torch.zeros(2400, 2, dtype=torch.long) - 1}, "only 0 test sequences"),
        ({"inputs": torch.ones(2400, 24, 2)}, "the same in all sequences"),
    ],
)
def test_a_task_with_nothing_to_look_for_is_named(changes, reason):
    with pytest.raises(NotApplicable, match=reason):
        found(DelayLine(), Told(**changes))


def test_too_few_sequences_to_evaluate_a_read_out_are_refused():
    with pytest.raises(UserError, match=r"`minimum` is 127, too few .* Make it 128 or more"):
        StateDecoding(sequences=1000, minimum=127, penalties=PENALTIES)


def test_a_trained_cell_gives_its_rows(tmp_path):
    run = next(load_runs(write_cell(tmp_path, {**MARKED, "sequences": 200}, GRU)))
    probe = StateDecoding(sequences=190, minimum=130, penalties=PENALTIES)
    frame = probe.measure(run, generator=torch.Generator().manual_seed(0))
    assert list(frame.columns) == ["distance", "skill", "control"]
    assert frame.skill[0] > 0.9
    again = probe.measure(run, generator=torch.Generator().manual_seed(0))
    assert frame.equals(again)
