import math
from functools import partial
from itertools import repeat

import pytest
import torch
from torch.testing import assert_close

from lookback.errors import NotApplicable
from lookback.models.attention import AttentionModel
from lookback.models.gru import GRU
from lookback.models.lru import LRU
from lookback.models.lstm import LSTM
from lookback.models.mingru import MinGRU
from lookback.models.network import Network
from lookback.models.transformer import Transformer
from lookback.probes import jacobians as module
from lookback.probes.jacobians import (
    jacobians,
    log_spectral_norms,
    recurrence,
    step_jacobians,
    trajectory,
)
from tests.models import cases
from tests.probes.recurrences import scaled_rotation
from tests.shipped import make_layer

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
    model = make_layer(AttentionModel, 3, 6, partial(make_layer, GRU))
    assert recurrence(Network(model, 2)) is model.encoder


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (
            make_layer(Transformer, 3, 4, layers=1, heads=2, feedforward=4),
            "a Transformer carries no state",
        ),
        (make_layer(LSTM, 3, 4, bidirectional=True), "a bidirectional LSTM"),
        (make_layer(MinGRU, 3, 4, layers=1, bidirectional=True), "a bidirectional MinGRU"),
        (make_layer(LRU, 3, 4, 1, 2, 0.5, 0.9, bidirectional=True), "a bidirectional LRU"),
    ],
)
def test_what_has_no_step_says_so(encoder, reason):
    with pytest.raises(NotApplicable, match=reason):
        recurrence(Network(encoder, 2))


@pytest.mark.parametrize("gain", [0.1, 1.0, 3.0])
def test_a_scaled_rotation_has_its_gain_to_the_distance_far_past_float64(gain):
    """10^-10,000 and 3^10,000 are no numbers; their logarithms are."""
    distances = [0, 1, 10, 1_000, 10_000]
    turned = scaled_rotation(gain, 4).kernel.weight_hh_l0.detach()
    norms = log_spectral_norms(repeat(turned, 10_000), distances)
    expected = torch.tensor(distances, dtype=torch.float64) * math.log(gain)
    assert_close(norms, expected, rtol=1e-12, atol=1e-8)


def test_the_jacobian_of_a_linear_network_has_the_singular_value_to_the_distance():
    """Diagonal W_h: ‖∂s_T/∂s_{T-d}‖ = s^d, s its largest entry."""
    encoder, inputs = scaled_rotation(1.0, 4), torch.zeros(50, 2, dtype=torch.float64)
    with torch.no_grad():
        entries = torch.tensor([0.2, 0.7, -0.9, 0.1], dtype=torch.float64)
        encoder.kernel.weight_hh_l0.copy_(torch.diag(entries))
    back = jacobians(encoder, inputs, trajectory(encoder, inputs), backwards=True)
    norms = log_spectral_norms(back, list(range(51)))
    assert_close(norms, torch.arange(51).double() * math.log(0.9))


def test_a_norm_is_of_the_product_in_its_order():
    drawn = torch.randn(6, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    norms = log_spectral_norms(drawn.flip(0), [0, 2, 5, 6, 7])
    for place, distance in ((1, 2), (2, 5), (3, 6)):
        product = torch.linalg.multi_dot(list(drawn.flip(0)[:distance]))
        assert_close(norms[place], torch.linalg.svdvals(product)[0].log())
    assert norms[0] == 0
    assert norms[4].isnan()


def test_a_product_that_vanishes_is_minus_infinity_and_one_that_is_no_number_stays_none():
    nothing, turned = torch.zeros(2, 2).double(), torch.eye(2).double()
    assert log_spectral_norms([turned, nothing, turned], [1, 2, 3]).tolist() == [
        0,
        -math.inf,
        -math.inf,
    ]
    broken = log_spectral_norms([turned, turned * math.nan, turned], [1, 2, 3])
    assert broken[0] == 0
    assert broken[1:].isnan().all()
