import pytest
import torch
from torch.testing import assert_close

from lookback.applies import DoesNotApply
from lookback.models.attention import AttentionModel
from lookback.models.gru import GRU
from lookback.models.lru import LRU
from lookback.models.lstm import LSTM
from lookback.models.mingru import MinGRU
from lookback.models.network import Network
from lookback.models.transformer import Transformer
from lookback.probes import jacobians as module
from lookback.probes.jacobians import jacobians, recurrence, step_jacobians, trajectory
from tests.models import cases

STEPPING = ("rnn", "lstm", "gru", "gru_before", "mingru", "minlstm", "lru")


def drawn(name: str) -> tuple:
    encoder = cases.build(name).double()
    inputs = cases.questions(time=7, dtype=torch.float64)[0][0]
    return encoder, inputs, trajectory(encoder, inputs)


@pytest.mark.parametrize("name", STEPPING)
def test_a_jacobian_is_what_small_changes_of_the_state_do(name):
    """Central differences, unit by unit, of every layer's states."""
    encoder, inputs, states = drawn(name)
    small = 1e-6 * torch.eye(encoder.state_size, dtype=torch.float64)
    with torch.no_grad():
        for t, found in enumerate(step_jacobians(encoder, inputs, states[:-1])):
            repeated = inputs[t].expand(encoder.state_size, -1)
            up, down = (encoder.step(repeated, states[t] + s)[1] for s in (small, -small))
            assert_close(found, (up - down).T / 2e-6, atol=1e-8, rtol=0)


def test_a_trajectory_is_the_states_of_a_trace_before_which_stands_zero():
    encoder, inputs, states = drawn("lstm")
    length = torch.tensor([len(inputs)])
    trace = encoder.trace(inputs[None], length, length[:, None] - 1)
    order = ("hidden/0", "cell/0", "hidden/1", "cell/1")
    assert_close(states[1:], torch.cat([trace.states[key][0] for key in order], dim=1))
    assert (states[0] == 0).all()


@pytest.mark.parametrize("held", [1, 3, 100])
def test_stretches_of_any_length_give_the_same_jacobians_both_ways(monkeypatch, held):
    encoder, inputs, states = drawn("gru")
    expected = step_jacobians(encoder, inputs, states[:-1])
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", held * encoder.state_size**2)
    assert_close(torch.stack(list(jacobians(encoder, inputs, states))), expected)
    back = torch.stack(list(jacobians(encoder, inputs, states, backwards=True)))
    assert_close(back, expected.flip(0))


def test_the_recurrence_of_attention_is_its_encoder():
    model = AttentionModel(3, 6, GRU)
    assert recurrence(Network(model, 2)) is model.encoder


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (Transformer(3, 4, layers=1, heads=2, feedforward=4), "a Transformer carries no state"),
        (LSTM(3, 4, bidirectional=True), "an? LSTM of two directions"),
        (MinGRU(3, 4, bidirectional=True), "a MinGRU of two directions"),
        (LRU(3, 4, 1, 2, 0.5, 0.9, bidirectional=True), "LRU of two directions"),
    ],
)
def test_what_has_no_step_says_so(encoder, reason):
    with pytest.raises(DoesNotApply, match=reason):
        recurrence(Network(encoder, 2))
