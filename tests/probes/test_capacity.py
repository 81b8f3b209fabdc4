import math

import numpy as np
import pytest
import torch
from numpy.polynomial import Legendre
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from torch.testing import assert_close

from lookback.probes.capacity import SAMPLES_PER_UNIT, Readout, capacities, legendre

N, DELAYS, STEPS, SIDE = 100, 200, 700, 16


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(*shape, generator=generator(seed), dtype=torch.float64) - 1


def reservoir(w, w_in, drive, activation=torch.tanh):
    """x(t) = f(W x(t-1) + w_in u(t)): Jaeger 2001."""
    state, states = torch.zeros(len(drive), len(w), dtype=torch.float64), []
    for u in drive.unbind(1):
        state = activation(state @ w.T + u[:, None] * w_in)
        states.append(state)
    return torch.stack(states, dim=1)


def linear(x):
    return x


def of(states, drive, degrees=(1,), max_delay=DELAYS):
    return capacities(states, drive, degrees=degrees, max_delay=max_delay, ridge=1e-8)


def total(states, drive, **settings) -> float:
    return of(states, drive, **settings).capacity.sum()


def ring(size: int = N) -> torch.Tensor:
    return 0.9 * torch.eye(size, dtype=torch.float64).roll(1, 0)


def first(size: int = N) -> torch.Tensor:
    return torch.eye(size, dtype=torch.float64)[0]


@pytest.mark.parametrize("radius", [0.5, 0.9, 0.99])
def test_a_random_linear_network_of_twenty_units_holds_as_many_inputs_as_its_rank(radius):
    """The rank of the controllability matrix (B, W B, W² B, …) is 20."""
    w = torch.randn(20, 20, generator=generator(), dtype=torch.float64)
    w *= radius / torch.linalg.eigvals(w).abs().max()
    w_in = torch.randn(20, generator=generator(1), dtype=torch.float64)
    columns = [w_in]
    for _ in range(19):
        columns.append(w @ columns[-1] / torch.linalg.norm(w @ columns[-1]))
    assert torch.linalg.matrix_rank(torch.stack(columns), rtol=1e-15) == 20
    drive = uniform(32, 512, seed=2)
    states = reservoir(w, w_in, drive, activation=linear)
    found = capacities(states, drive, degrees=(1,), max_delay=256, ridge=1e-24)
    assert found.capacity.sum() == pytest.approx(20, abs=0.5)
    hidden = capacities(states, drive, degrees=(1,), max_delay=256, ridge=1e-8)
    assert hidden.capacity.sum() < 19  # a penalty hides the weak directions


@pytest.mark.parametrize("degrees", [(1,), (1, 2, 3)])
def test_white_noise_in_place_of_a_state_holds_nothing(degrees):
    noise = torch.randn(SIDE, STEPS, N, generator=generator(), dtype=torch.float64)
    frame = of(noise, uniform(SIDE, STEPS, seed=1), degrees)
    assert abs(frame.capacity.sum()) < 0.5
    assert frame.raw.sum() > 2.4 * len(degrees)  # what is taken off: N / n a delay


def test_the_bias_is_removed_on_the_mean_and_the_sum_scatters_as_said():
    """Over draws of noise: mean 0 and standard deviation √(2 N K) / n."""
    sums = []
    for seed in range(60):
        noise = torch.randn(4, 160, 10, generator=generator(seed), dtype=torch.float64)
        sums.append(total(noise, uniform(4, 160, seed=1000 + seed), max_delay=39))
    said = math.sqrt(2 * 10 * 40) / (4 * (160 - 39))
    assert abs(np.mean(sums)) < 3 * said / math.sqrt(60)
    assert np.std(sums) == pytest.approx(said, rel=0.35)


def test_a_delay_line_holds_each_delay_up_to_its_last_tap_and_nothing_beyond():
    taps = 12
    line = torch.diag(torch.ones(taps - 1, dtype=torch.float64), -1)
    drive = uniform(SIDE, STEPS)
    capacity = of(reservoir(line, first(taps), drive, linear), drive).capacity
    np.testing.assert_allclose(capacity[:taps], 1, atol=1e-6)
    np.testing.assert_allclose(capacity[taps:], 0, atol=0.01)
    assert capacity.sum() == pytest.approx(taps, abs=0.1)


@pytest.mark.parametrize("dense", [False, True])
def test_a_linear_ring_of_100_holds_95_to_100_steps(dense):
    drive = uniform(SIDE, STEPS)
    w_in = 0.1 * uniform(N, seed=2) if dense else first()
    assert 95 < total(reservoir(ring(), w_in, drive, linear), drive) <= 100


def test_echo_state_networks_hold_what_published_code_finds():
    """N = 100, spectral radius 0.9, inputs scaled by 0.1: about 32 there, the floor left in.

    About 89 for an orthogonal one, which we meet where it is linear: with tanh we find 53.
    """
    drive = uniform(SIDE, STEPS)
    w = torch.randn(N, N, generator=generator(3), dtype=torch.float64)
    w = 0.9 * w / torch.linalg.eigvals(w).abs().max()
    frame = of(reservoir(w, 0.1 * uniform(N, seed=2), drive), drive)
    assert frame.raw.sum() == pytest.approx(32, abs=2)
    assert frame.capacity.sum() == pytest.approx(30, abs=2)
    orthogonal = torch.linalg.qr(w).Q
    assert total(
        reservoir(0.9 * orthogonal, 0.1 * uniform(N, seed=2), drive, linear), drive
    ) == pytest.approx(89, abs=4)


@pytest.mark.parametrize("gain", [0.1, 1.0, 3.0])
def test_the_sum_over_degrees_and_delays_stays_within_the_size_of_the_state(gain):
    """Dambre's bound; a linear ring in a nonlinear state fills most of it."""
    size, drive = 20, uniform(SIDE, STEPS)
    w_in = gain * uniform(size, seed=2)
    found = total(reservoir(ring(size), w_in, drive), drive, degrees=range(1, 8))
    assert found < size + 0.3
    assert found > size / 4


def test_a_state_of_one_polynomial_holds_that_degree_alone():
    drive = uniform(SIDE, STEPS)
    states = legendre(3, drive).roll(5, dims=1).unsqueeze(-1)
    frame = of(states, drive, degrees=(1, 2, 3, 4), max_delay=10)
    held = (frame.degree == 3) & (frame.delay == 5)
    assert frame.capacity[held].item() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(frame.capacity[~held], 0, atol=0.005)


@pytest.mark.parametrize("degree", range(6))
def test_legendre_polynomials_are_numpys(degree):
    u = uniform(7, 3)
    assert_close(legendre(degree, u), torch.from_numpy(Legendre.basis(degree)(u.numpy())))


@pytest.mark.parametrize("ridge", [1e-8, 0.3])
def test_raw_is_scikit_learns_r2_and_the_floor_its_mean_over_shuffled_targets(ridge):
    states, target = uniform(60, 7).numpy(), uniform(60, seed=1).numpy()
    states[:, 1] = states[:, 0] + 1e-3 * states[:, 1]
    z = (states - states.mean(0)) / states.std(0)
    model = Ridge(ridge * len(z))

    def score(y):
        return r2_score(y, model.fit(z, y).predict(z))

    readout = Readout.of(torch.from_numpy(states), ridge)
    found = readout.scores(torch.from_numpy(target)[:, None])
    assert found.raw.item() == pytest.approx(score(target))
    random = np.random.default_rng(0)
    scores = [score(random.permutation(target)) for _ in range(200)]
    assert readout.floor == pytest.approx(np.mean(scores), abs=4 * np.std(scores) / 200**0.5)


def test_the_noise_of_a_sum_is_the_stated_one_at_the_fewest_samples_that_the_probe_takes():
    """N = K = 24 and n = 4 N, the worst case: √(2 N K / (n (n − N))) = √(1/6)."""
    states, targets = 24, 24
    samples = SAMPLES_PER_UNIT * states
    random = generator()
    sums = []
    for _ in range(600):
        readout = Readout.of(torch.randn(samples, states, generator=random), 1e-8)
        sums.append(readout.scores(torch.randn(samples, targets, generator=random).double()))
    totals = np.array([scores.capacity.sum() for scores in sums])
    assert totals.std() == pytest.approx(6**-0.5, rel=0.15)
    assert totals.mean() == pytest.approx(0, abs=4 * totals.std() / 600**0.5)


def test_fewer_samples_than_units_fit_any_target():
    """Why the probe refuses them: noise reaches a score of 1 for each target."""
    random = generator()
    readout = Readout.of(torch.randn(32, 64, generator=random), 1e-8)
    scores = readout.scores(torch.randn(32, 5, generator=random).double())
    np.testing.assert_allclose(scores.raw, 1, atol=1e-4)
    assert readout.floor == pytest.approx(1, abs=1e-4)


def test_sequences_side_by_side_do_not_leak_into_each_other():
    """A state that holds the other sequence's input holds nothing of its own."""
    drive = uniform(2, 3000)
    frame = of(drive.flip(0).unsqueeze(-1), drive, max_delay=3)
    np.testing.assert_allclose(frame.capacity, 0, atol=0.01)


def test_a_state_that_never_moves_holds_nothing():
    drive = uniform(3, 50)
    still = torch.full((3, 50, 4), 0.1)
    assert (of(still, drive, max_delay=5).capacity == 0).all()
    assert of(torch.cat([still, drive.float()[..., None]], -1), drive, max_delay=5).capacity[
        0
    ] == pytest.approx(1, abs=1e-6)
