"""Noise on the state of networks built by hand, whose errors under noise are known."""

import numpy as np
import pandas as pd
import pytest
import torch

from lookback.data.batch import Batch, SequenceDataset
from lookback.data.content import digest_of
from lookback.data.task import SPLITS, Facts, Task
from lookback.errors import NotApplicable, UserError
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network
from lookback.models.rnn import RNN
from lookback.probes.state_noise import StateNoise, answers_under_noise
from lookback.summarise.quantities.memory_horizon import memory_horizon
from lookback.summarise.quantities.noise_tolerance import noise_tolerance
from lookback.training.run import Run, load_runs
from tests.cells import GRU, MARKED, write_cell
from tests.models.cases import CASES, build, questions
from tests.shipped import make_layer

from .recurrences import LinearRNN
from .runs import reading, recall, run_of

STEPS = 60


class Sign(Task):
    """Was the first input +1 or −1? Asked at every later step; the later inputs are zero."""

    def __init__(self, kind: str):
        self.kind = kind

    def dataset(self, split) -> SequenceDataset:
        signs = torch.randint(2, (400, 1), generator=torch.Generator().manual_seed(len(split)))
        inputs = torch.zeros(400, STEPS, 1)
        inputs[:, 0] = 2.0 * signs - 1
        query = torch.arange(1, STEPS).repeat(400, 1)
        target = signs.expand(-1, STEPS - 1)
        if self.kind == "value":
            target = (2.0 * target - 1).unsqueeze(-1)
        return SequenceDataset(inputs, torch.full((400,), STEPS), query, target, lag=query)

    def facts(self) -> Facts:
        if self.kind == "class":
            return Facts("class", False, 1, STEPS, 2, "accuracy", 0.5, "any", {})
        return Facts("value", False, 1, STEPS, 1, "mse", 1.0, "zero", {})


def network(kind: type, recurrent: float, into: float, outputs: int) -> Network:
    """One unit h = f(`into` x + `recurrent` h), whose value or sign is the answer."""
    encoder = make_layer(kind, 1, 1)
    made = Network(encoder, outputs).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        encoder.kernel.weight_ih_l0.fill_(into)
        encoder.kernel.weight_hh_l0.fill_(recurrent)
        made.head.weight.copy_(torch.tensor([[-1.0], [1.0]]) if outputs == 2 else torch.ones(1, 1))
    return made


def measured(made: Network, task: Task, sigmas: list[float]) -> pd.DataFrame:
    digests = {split: digest_of(task.dataset(split)) for split in SPLITS}
    run = FixedTask(0, {}, {}, task.facts(), made, digests)
    frame = StateNoise(sigmas, 400).measure(run, generator=torch.Generator().manual_seed(0))
    return frame.assign(seed=0)


class FixedTask(Run):
    """A run whose task is the one of its facts."""

    def task(self, **changes):
        return Sign(self.facts.kind)


def test_an_integrator_drifts_so_that_its_squared_error_is_the_variance_times_the_steps():
    """h_t = h_{t−1} + x_t + σ ε_t: after t + 1 steps, E(h − x_0)² = σ² (t + 1)."""
    frame = measured(network(LinearRNN, 1.0, 1.0, 1), Sign("value"), [0.05, 0.2])
    assert (frame.loc[frame["sigma"] == 0, "skill"] == 1).all()
    for sigma in (0.05, 0.2):
        rows = frame[frame["sigma"] == sigma]
        error = 1 - rows.groupby("lag")["skill"].mean()
        expected = sigma**2 * (error.index + 1)
        # A squared Gaussian error has the standard deviation √2 of its mean; 400 sequences.
        assert np.abs(error / expected - 1).max() < 5 * np.sqrt(2 / 400)
        slope = np.polyfit(error.index, error, 1)[0]
        assert slope == pytest.approx(sigma**2, rel=0.2)


def test_a_latch_holds_at_noise_that_makes_an_integrator_forget():
    """tanh(3 h) has attractors at ±0.995 and a barrier between them; y = x has neither."""
    sigmas = [0.15, 0.6]
    latch = measured(network(RNN, 3.0, 3.0, 2), Sign("class"), sigmas)
    line = measured(network(LinearRNN, 1.0, 0.5, 2), Sign("class"), sigmas)
    by_lag = {
        name: frame.groupby(["sigma", "lag"])["skill"].mean()
        for name, frame in (("latch", latch), ("line", line))
    }
    assert (latch.loc[latch["sigma"] == 0.15, "skill"] == 1).all()
    assert by_lag["line"][0.15].iloc[-10:].mean() < 0.75
    assert by_lag["latch"][0.6].iloc[-10:].mean() < 0.5  # large noise takes it over the barrier
    assert memory_horizon(latch[latch["sigma"] == 0.15])[0] == STEPS - 1
    assert memory_horizon(latch[latch["sigma"] == 0.6])[0] < STEPS - 1
    assert noise_tolerance(latch).value > noise_tolerance(line).value


@pytest.mark.parametrize("name", CASES)
def test_without_noise_the_answers_are_those_of_the_network(name):
    encoder = build(name)
    if not isinstance(encoder, RecurrentEncoder) or encoder.bidirectional:
        return
    inputs, lengths, query = questions()
    batch = Batch(inputs, lengths, query, torch.zeros_like(query))
    made, asked = Network(encoder, 4).eval(), query >= 0
    expected = made(inputs, lengths, query)[asked]
    generator = torch.Generator().manual_seed(0)
    found = [answers_under_noise(made, batch, sigma, generator)[asked] for sigma in (0.0, 0.5)]
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=0)
    assert (found[1] - expected).abs().max() > 1e-3


def test_the_same_generator_gives_the_same_rows():
    frames = [measured(network(RNN, 3.0, 3.0, 2), Sign("class"), [0.5]) for _ in range(2)]
    pd.testing.assert_frame_equal(*frames)
    assert list(frames[0]) == ["sigma", "sequence", "lag", "skill", "threshold", "seed"]
    assert sorted(frames[0]["sigma"].unique()) == [0, 0.5]


def test_a_model_without_a_state_and_a_task_without_lags_have_no_rows(tmp_path):
    run = run_of(recall(length=9, lag=3, test=12), reading(3))
    with pytest.raises(NotApplicable, match="Reads does not answer from a state"):
        StateNoise([0.1], 5).measure(run, generator=torch.Generator())
    both = network(RNN, 1.0, 1.0, 2)
    both.encoder.bidirectional = True
    with pytest.raises(NotApplicable, match="RNN does not answer from a state"):
        measured(both, Sign("class"), [0.1])
    run = next(load_runs(write_cell(tmp_path, MARKED, GRU)))
    with pytest.raises(NotApplicable, match="how long ago"):
        StateNoise([0.1], 5).measure(run, generator=torch.Generator())


@pytest.mark.parametrize("sigmas", [[], [0.0, 0.1], [-1.0]])
def test_a_sigma_that_is_no_noise_is_a_mistake(sigmas):
    with pytest.raises(UserError, match=r"`sigmas` are .* above 0"):
        StateNoise(sigmas, 5)
