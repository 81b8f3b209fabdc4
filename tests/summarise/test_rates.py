import math

import numpy as np
import pytest
import torch

from lookback.models.gru import GRU
from lookback.probes.jacobians import jacobians, log_spectral_norms, trajectory
from lookback.probes.spectrum import spectrum
from lookback.summarise.rates import half_distance, rate, slope
from tests.probes.recurrences import random_tanh
from tests.shipped import make_layer

DISTANCES = np.unique(np.geomspace(1, 1000, 40).round())


@pytest.mark.parametrize("gain", [0.5, 0.999, 1.0, 1.2])
def test_an_exponential_has_its_own_rate_on_any_grid(gain):
    for distances in (DISTANCES, np.arange(100), [3, 17]):
        logs = 2.5 + np.asarray(distances) * math.log(gain)
        assert rate(distances, logs) == pytest.approx(math.log(gain), abs=1e-12)


def test_of_many_decays_at_once_the_slowest_is_found_past_the_start():
    """Ln (e^(-0.01 d) + 50 e^(-0.1 d)), whose slope starts ten times too steep."""
    logs = np.logaddexp(-0.01 * DISTANCES, math.log(50) - 0.1 * DISTANCES)
    assert rate(DISTANCES, logs) == pytest.approx(-0.01, rel=1e-3)
    assert slope(DISTANCES, logs) < -0.0103


def test_what_vanished_or_is_not_known_is_left_out():
    logs = -0.3 * DISTANCES
    logs[DISTANCES > 200] = -math.inf
    logs[5] = math.nan
    assert rate(DISTANCES, logs) == pytest.approx(-0.3)


@pytest.mark.parametrize("logs", [[], [1.0], [math.nan, -math.inf, 1.0]])
def test_fewer_than_two_distances_have_no_rate(logs):
    assert math.isnan(rate(range(len(logs)), logs))
    assert math.isnan(half_distance(rate(range(len(logs)), logs)))


def test_a_fit_over_seven_steps_has_no_rate():
    """A gradient that does not fall within 7 steps was called one that never halves."""
    assert math.isnan(rate(range(8), np.zeros(8)))


def test_two_distances_are_enough_wherever_they_lie():
    assert rate([1, 100], [0.0, -99.0]) == pytest.approx(-1.0)


def test_distances_without_their_logarithms_are_refused():
    with pytest.raises(ValueError, match="3 distances have 2 logarithms"):
        rate([1, 2, 3], [0.0, 1.0])


def test_half_distances_by_hand():
    assert half_distance(-math.log(2)) == pytest.approx(1.0)
    assert half_distance(-math.log(2) / 40) == pytest.approx(40.0)
    assert half_distance(0.0) == half_distance(0.1) == math.inf


def drawn_gru() -> GRU:
    torch.manual_seed(0)
    return make_layer(GRU, 1, 12).double().eval()


@pytest.mark.parametrize("encoder", [random_tanh(0.8, 24), drawn_gru()], ids=["tanh", "gru"])
def test_forward_and_backward_agree_within_a_twentieth(encoder):
    """The first exponent by QR forwards, and the slope of ‖∂s_T/∂s_t‖ backwards: one rate."""
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(800, 1, generator=generator, dtype=torch.float64)
    states = trajectory(encoder, inputs)
    forwards = spectrum(jacobians(encoder, inputs, states), warm_up=80)
    distances = np.unique(np.geomspace(1, 799, 32).round().astype(int)).tolist()
    back = jacobians(encoder, inputs, states, backwards=True)
    found = rate(distances, log_spectral_norms(back, distances).numpy())
    assert found == pytest.approx(float(forwards[0]), rel=0.05)
