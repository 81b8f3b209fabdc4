"""The memory function: its weights against their formulas, its errors against least squares."""

import numpy as np
import pytest
from scipy.integrate import quad

from lookback.data.check import check_data, check_facts
from lookback.data.memory_function import MemoryFunction, error_by_window, memory_function
from lookback.data.task import SPLITS

KINDS = [("exponential", 3.0), ("polynomial", 2.0), ("impulse", 5.0), ("airy", 6.0)]
SIZES = {"train": 600, "validation": 5, "test": 600, "seed": 0, "fresh": False}


@pytest.mark.parametrize(("function", "strength"), KINDS)
def test_the_error_by_window_is_that_of_least_squares_on_simulated_data(function, strength):
    """Fitted on 30,000 answers and scored on others: errors agree within the sampling error."""
    task = MemoryFunction(62, function, strength, window=13, **SIZES)
    expected = error_by_window(task.weights)
    train, test = (pairs(task.dataset(split), window=13) for split in ("train", "test"))
    for used in range(14):
        weights, *_ = np.linalg.lstsq(train[0][:, :used], train[1])
        error = np.mean((test[1] - test[0][:, :used] @ weights) ** 2)
        assert error == pytest.approx(expected[used], abs=0.025)
    assert weights == pytest.approx(task.weights, abs=1e-5)
    baselines = task.facts().baselines
    assert baselines["mean of the targets"] == pytest.approx(expected[0], abs=0.025)
    own_step = baselines.get("input of the query's own step", expected[0])
    assert own_step == pytest.approx(expected[1], abs=0.025)


def pairs(data, window):
    """The last `window` inputs (newest first) and the target of each answer."""
    inputs, target = data.inputs[..., 0].double().numpy(), data.target[..., 0].double().numpy()
    rows = [
        (inputs[row, step - window + 1 : step + 1][::-1], target[row, place])
        for row in range(len(inputs))
        for place, step in enumerate(data.query[row].tolist())
    ]
    return np.array([x for x, _ in rows]), np.array([y for _, y in rows])


@pytest.mark.parametrize(("function", "strength"), KINDS)
def test_the_checks_of_prepare_accept_the_task(function, strength):
    task = MemoryFunction(30, function, strength, window=13, **SIZES)
    datasets = {split: task.dataset(split) for split in SPLITS}
    check_data(datasets)
    check_facts(task.facts(), datasets)


def test_the_weights_are_those_of_the_formulas():
    ratio = {
        "exponential": (np.exp(-1), 3, 0),  # ρ(3) / ρ(0) at τ = 3
        "polynomial": (1 / 2, 3, 0),
        "airy": (airy_by_integral(2.0) / airy_by_integral(-3.0), 5, 0),
    }
    for function, (expected, one, other) in ratio.items():
        weights = memory_function(function, 3.0, 9)
        assert np.sum(weights**2) == pytest.approx(1)
        assert weights[one] / weights[other] == pytest.approx(expected, rel=1e-6)
    assert memory_function("impulse", 3.0, 5).tolist() == [0, 0, 0, 1, 0]


def airy_by_integral(x):
    """Ai(x) by its integral over a contour on which it falls exponentially: z = t e^{iπ/6}."""
    turn = np.exp(1j * np.pi / 6)

    def integrand(t):
        z = t * turn
        return (np.exp(1j * (z**3 / 3 + x * z)) * turn).real

    return quad(integrand, 0, 10)[0] / np.pi


def test_the_errors_fall_from_the_variance_to_zero():
    errors = error_by_window(memory_function("polynomial", 4.0, 50))
    assert errors[0] == pytest.approx(1)
    assert errors[-1] == 0
    assert (np.diff(errors) < 0).all()
    impulse = error_by_window(memory_function("impulse", 3.0, 6))
    assert impulse.tolist() == [1, 1, 1, 1, 0, 0, 0]


def test_a_longer_strength_needs_a_longer_window():
    for function, (short, long) in {
        "exponential": (2.0, 9.0),
        "polynomial": (2.0, 9.0),
        "impulse": (2.0, 9.0),
        "airy": (2.0, 9.0),
    }.items():
        half = [
            int(np.argmax(error_by_window(memory_function(function, strength, 40)) < 0.5))
            for strength in (short, long)
        ]
        assert half[0] < half[1]
