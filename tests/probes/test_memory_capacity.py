from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.decomposition import PCA
from torch import nn

from lookback.errors import NotApplicable, UserError
from lookback.models.network import Network
from lookback.models.rnn import RNN
from lookback.probes import probe
from lookback.probes.memory_capacity import MemoryCapacity, direction, driven_states
from lookback.storage.tables import read_parquet
from lookback.training.run import load_runs
from tests.cells import GRU, MARKED, TOKENS, write_cell, write_plan
from tests.shipped import make_layer, model_config

CONF = Path(__file__).parents[2] / "conf" / "probe"
ATTENTION = model_config(
    "attention.AttentionModel",
    encoder=model_config("gru.GRU", _partial_=True),
    hidden_size=6,
    attention="scaled_dot",
    embedding_size=4,
)
TCN = model_config("tcn.TCN", hidden_size=4, layers=1, kernel_size=2)
IRNN = model_config("rnn.RNN", hidden_size=6, nonlinearity="relu")


def small() -> MemoryCapacity:
    return MemoryCapacity(max_delay=5, degrees=[1, 2], samples=1000, ridge=1e-8, scales=[1.0])


def measured(tmp_path, task, model):
    run = next(load_runs(write_cell(tmp_path, task, model)))
    return small().measure(run, generator=torch.Generator().manual_seed(0)), run


@pytest.mark.parametrize("task", [MARKED, TOKENS])
@pytest.mark.parametrize("model", [GRU, ATTENTION])
def test_both_stages_degrees_and_every_delay_have_a_row(tmp_path, task, model):
    frame, run = measured(tmp_path, task, model)
    assert len(frame) == 2 * 2 * 6
    assert frame.groupby(["stage", "degree"]).delay.apply(list).map(len).eq(6).all()
    assert (frame.bound == 6).all()
    assert (frame.groupby("stage").capacity.sum() <= 6.1).all()
    assert all(parameter.grad is None for parameter in run.model.parameters())
    trained, initial = (frame[frame.stage == stage].capacity for stage in ("trained", "initial"))
    assert not np.allclose(trained, initial)


def test_other_scales_of_the_input_have_linear_capacities_after_training(tmp_path):
    run = next(load_runs(write_cell(tmp_path, MARKED, GRU)))
    probe = MemoryCapacity(max_delay=5, degrees=[1, 2], samples=1000, ridge=1e-8, scales=[1.0, 4.0])
    frame = probe.measure(run, generator=torch.Generator().manual_seed(0))
    kinds = set(frame[["stage", "degree", "scale"]].itertuples(index=False, name=None))
    own = {(stage, degree, 1.0) for stage in ("initial", "trained") for degree in (1, 2)}
    assert kinds == own | {("trained", 1, 4.0)}
    sums = frame[(frame.stage == "trained") & (frame.degree == 1)].groupby("scale").capacity.sum()
    assert abs(sums[4.0] - sums[1.0]) > 1e-3
    assert next(run.model.parameters()).dtype == torch.float32


def test_the_drive_has_the_mean_the_direction_and_the_spread_of_the_inputs(tmp_path):
    run = next(load_runs(write_cell(tmp_path, MARKED, GRU)))
    data = run.task().dataset("test")
    seen = data.inputs[torch.arange(data.inputs.shape[1]) < data.lengths[:, None]].numpy()
    analysis = PCA(1).fit(seen)
    mean, swing = direction(run.model.double(), data)
    np.testing.assert_allclose(mean, seen.mean(0), rtol=1e-5)
    spread = np.sqrt(3 * analysis.explained_variance_[0] * (len(seen) - 1) / len(seen))
    p = analysis.components_[0] * np.sign(analysis.components_[0][1])
    np.testing.assert_allclose(swing, spread * p, rtol=1e-4)


def test_the_states_are_those_of_the_trace():
    torch.manual_seed(0)
    encoder = make_layer(RNN, 2, 5, layers=2)
    inputs, lengths = torch.randn(3, 7, 2), torch.full((3,), 7)
    trace = encoder.trace(inputs, lengths, lengths[:, None] - 1)
    expected = torch.cat(list(trace.states.values()), dim=-1)
    torch.testing.assert_close(driven_states(encoder, inputs), expected)


def test_fewer_than_four_samples_for_a_unit_of_the_state_are_too_few(tmp_path):
    run = next(load_runs(write_cell(tmp_path, MARKED, GRU)))  # 6 units
    settings = {"max_delay": 1, "degrees": [1], "ridge": 1e-8, "scales": [1.0]}
    generator = torch.Generator().manual_seed(0)
    enough = MemoryCapacity(samples=24, **settings).measure(run, generator=generator)
    assert (enough.bound == 6).all()
    with pytest.raises(
        NotApplicable, match=r"6 units needs 24 samples or more, .* `samples` is 23"
    ):
        MemoryCapacity(samples=23, **settings).measure(run, generator=generator)


def test_fewer_than_four_samples_for_a_delay_are_refused_before_anything_is_measured():
    with pytest.raises(UserError, match=r"`samples` is 32, too few for 257 delays .* 1028 or more"):
        MemoryCapacity(max_delay=256, degrees=[1], samples=32, ridge=1e-8, scales=[1.0])
    MemoryCapacity(max_delay=256, degrees=[1], samples=1028, ridge=1e-8, scales=[1.0])


def test_a_model_without_a_recurrence_is_named(tmp_path):
    with pytest.raises(NotApplicable, match="TCN carries no state"):
        measured(tmp_path, MARKED, TCN)


def test_a_model_of_two_directions_is_named(tmp_path):
    with pytest.raises(NotApplicable, match="bidirectional GRU"):
        measured(tmp_path, MARKED, {**GRU, "bidirectional": True})


def test_a_state_that_overflows_is_named(tmp_path):
    run = next(load_runs(write_cell(tmp_path, MARKED, IRNN)))
    assert isinstance(run.model, Network)
    with torch.no_grad():
        nn.init.eye_(run.model.encoder.kernel.weight_hh_l0).mul_(1e9)
        run.model.encoder.kernel.bias_ih_l0.fill_(1)
    with pytest.raises(NotApplicable, match="the trained state overflows within 37 steps"):
        small().measure(run, generator=torch.Generator())


@pytest.mark.parametrize("name", ["memory_capacity", "state_decoding"])
def test_the_probe_as_shipped_writes_the_same_table_twice(tmp_path, name):
    cell = write_cell(tmp_path, {**MARKED, "sequences": 300}, GRU)
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    plan = write_plan(tmp_path, "probe", "probe", config)
    for out in ("once", "twice"):
        probe.main(plan, cell, cell / f"{out}.parquet")
    once, twice = (read_parquet(cell / f"{out}.parquet") for out in ("once", "twice"))
    pd.testing.assert_frame_equal(once, twice)
    assert set(once.seed) == {0, 1}
    assert "reason" not in once
