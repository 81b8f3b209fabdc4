import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from lookback.errors import NotApplicable
from lookback.models.lstm import LSTM
from lookback.models.mingru import MinGRU
from lookback.probes.gate_timescales import GateTimescales, timescale
from lookback.training.run import Run, load_runs
from tests.cells import INITIALISATION, MARKED, write_cell
from tests.shipped import model_config

PROBE = GateTimescales(sequences=9)
SIZE = {"hidden_size": 3}
WANTED = torch.tensor([0.05, 0.5, 0.99])  # the share that a unit keeps at each step


def run_of(path, target: str, task=MARKED, **settings) -> Run:
    model = model_config(target, **SIZE | settings)
    return next(load_runs(write_cell(path, task, model, seeds=(0,))))


def measured(run: Run):
    return (
        PROBE.measure(run, generator=torch.Generator())
        .set_index(["gate", "layer", "unit"])
        .sort_index()
    )


@torch.no_grad()
def set_bias(module: nn.Module, block: int, blocks: int, bias: torch.Tensor) -> None:
    """A module whose gates are constant: σ(bias) of one block, 0.5 of the others."""
    for parameter in module.parameters():
        parameter.zero_()
    parameters = dict(module.named_parameters())
    name = "bias_ih_l0" if "bias_ih_l0" in parameters else "0.bias"
    parameters[name].chunk(blocks)[block].copy_(bias)


@pytest.mark.parametrize(
    ("target", "part", "gate", "block", "blocks", "kept"),
    [
        ("lstm.LSTM", "kernel", "forget", 1, 4, lambda b: b.sigmoid()),
        ("gru.GRU", "kernel", "update", 1, 3, lambda b: b.sigmoid()),
        ("mingru.MinGRU", "from_input", "update", 0, 2, lambda b: 1 - b.sigmoid()),
        (
            "minlstm.MinLSTM",
            "from_input",
            "forget",
            0,
            3,
            lambda b: b.sigmoid() / (b.sigmoid() + 0.5),  # the input gate is at 0.5
        ),
    ],
)
def test_a_constant_gate_has_its_own_timescale(tmp_path, target, part, gate, block, blocks, kept):
    run = run_of(tmp_path, target)
    bias = WANTED.logit()
    set_bias(getattr(run.model.encoder, part), block, blocks, bias)
    frame = measured(run)
    expected = -1 / kept(bias.double()).log()
    np.testing.assert_allclose(frame.loc[(gate, 0), "timescale"], expected, rtol=1e-6)
    others = frame.index.get_level_values("gate").unique().drop(gate)
    assert frame.loc[list(others), "timescale"].isna().all()
    assert "candidate" not in others
    assert frame.aimed.isna().all()
    if target != "minlstm.MinLSTM":  # whose open gate of 0.99 keeps two thirds
        assert frame.loc[(gate, 0), "left_saturated"].tolist() == [1, 0, 0]
        assert frame.loc[(gate, 0), "right_saturated"].tolist() == [0, 0, 1]


def test_of_a_changing_gate_it_is_the_rate_of_what_is_left_of_the_state(tmp_path):
    """A cell of 1 that hears nothing more falls to Π f: e^(-n/τ) over the n steps of a sequence."""
    run = run_of(tmp_path, "lstm.LSTM")
    dataset, encoder = run.task().dataset("test"), run.model.encoder
    with torch.no_grad():
        encoder.kernel.weight_hh_l0.zero_()
        encoder.kernel.weight_ih_l0[6:9] = 0.0  # the candidate: nothing is written
    frame = measured(run)
    left, steps = torch.zeros(3), 0
    for row, length in enumerate(dataset.lengths.tolist()):
        state = torch.cat([torch.zeros(1, 3), torch.ones(1, 3)], dim=1)
        for x in dataset.inputs[row, :length]:
            _, state = encoder.step(x.unsqueeze(0), state)
        left, steps = left + state[0, 3:].log(), steps + length
    expected = (-steps / left).detach()
    np.testing.assert_allclose(frame.loc[("forget", 0), "timescale"], expected, rtol=1e-5)


def test_padding_counts_in_no_share(tmp_path):
    """Sequences of 4 to 7 steps: in batches of one and all together, the same to rounding."""
    run = run_of(tmp_path, "gru.GRU")
    with torch.no_grad():
        run.model.encoder.kernel.bias_ih_l0.fill_(1.9)
    dataset, above = run.task().dataset("test"), 0.0
    for row, length in enumerate(dataset.lengths.tolist()):
        inputs, one = dataset.inputs[row : row + 1, :length], torch.tensor([length])
        update = run.model.trace(inputs, one, one[:, None] - 1)[1].gates["update/0"][0]
        above = above + (update > 0.9).sum(dim=0)
    found = measured(run).loc[("update", 0), "right_saturated"]
    np.testing.assert_allclose(found, above / dataset.lengths.sum())


def test_an_lru_has_a_timescale_a_mode_whatever_it_reads(tmp_path):
    run = run_of(tmp_path, "lru.LRU", layers=2, modes=4, r_min=0.5, r_max=0.999)
    frame = measured(run)
    for layer, block in enumerate(run.model.encoder.blocks):
        expected = -1 / block.eigenvalues().detach().abs().log()
        found = frame.loc[("eigenvalue", layer), "timescale"]
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert frame[["left_saturated", "right_saturated", "aimed"]].isna().all(axis=None)


def test_chrono_aims_at_the_tasks_length_and_its_gates_start_below_it(tmp_path):
    run = run_of(tmp_path, "lstm.LSTM", hidden_size=200)
    chrono = {**INITIALISATION, "forget_bias": "chrono"}
    run = dataclasses.replace(run, config={**run.config, "recipe": {"initialisation": chrono}})
    run = dataclasses.replace(run, model=run.initial())
    for name in ("weight_hh_l0", "weight_ih_l0"):
        nn.init.zeros_(getattr(run.model.encoder.kernel, name))
    forget = measured(run).loc[("forget", 0)]
    assert (forget.aimed == 7).all()
    # 1 / (1 - f) is uniform from 2 to T, and τ lies half a step below it.
    assert forget.timescale.between(1 / math.log(2) - 1e-6, 6.5).all()
    assert forget.timescale.median() == pytest.approx(4.0, abs=0.3)


@pytest.mark.parametrize("name", ["attention.AttentionModel", "lstm_transformer.LSTMTransformer"])
def test_attention_is_read_by_its_encoder(tmp_path, name):
    encoder = model_config("mingru.MinGRU", layers=1, _partial_=True)
    more = {} if "Model" in name else {"layers": 1, "heads": 1, "feedforward": 4}
    run = run_of(tmp_path, name, encoder=encoder, **more)
    assert isinstance(run.model.encoder.encoder, MinGRU)
    frame = measured(run)
    assert frame.loc[("update", 0), "timescale"].notna().all()


def test_both_directions_have_their_own_gates(tmp_path):
    run = run_of(tmp_path, "lstm.LSTM", bidirectional=True)
    assert isinstance(run.model.encoder, LSTM)
    gates = measured(run).timescale.dropna().index.get_level_values("gate")
    assert set(gates) == {"forget", "forget_reverse"}


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("rnn.RNN", {}),
        ("transformer.Transformer", {"layers": 1, "heads": 1, "feedforward": 4}),
        ("tcn.TCN", {"layers": 2, "kernel_size": 2}),
    ],
)
def test_a_model_without_gates_says_so(tmp_path, target, settings):
    run = run_of(tmp_path, target, **settings)
    with pytest.raises(NotApplicable, match=f"a {target.split('.')[1]} has no gates"):
        measured(run)


def test_a_gate_that_never_lets_go_has_no_end_and_one_that_shut_no_time():
    logs = torch.tensor([0.0, -torch.inf, -0.5])
    assert timescale(logs).tolist() == [math.inf, 0.0, 2.0]
