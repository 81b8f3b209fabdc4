import numpy as np
import pandas as pd
import pytest

from lookback.report.figures import memory_capacity, state_decoding, state_noise


def held(model: str, capacity: dict[int, list[float]], stage: str, seed: int = 0) -> pd.DataFrame:
    """A frame of one model as the probe leaves it: capacities by degree and delay."""
    parts = [
        pd.DataFrame({"degree": degree, "delay": range(len(values)), "capacity": values})
        for degree, values in capacity.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["raw"] = frame["capacity"] + 0.01
    return frame.assign(model=model, stage=stage, seed=seed, task="adding", bound=8, scale=1.0)


CAPACITY = pd.concat(
    [
        held("gru", {1: [1.0, 0.5, 0.0], 2: [0.25, 0.0, 0.0]}, "trained"),
        held("gru", {1: [1.0, 0.9, 0.1], 2: [0.15, 0.0, -0.01]}, "trained", seed=1),
        held("gru", {1: [0.5, 0.0, 0.0], 2: [0.0, 0.0, 0.0]}, "initial"),
        held("lru", {1: [1.0, 1.0, 1.0], 2: [0.0, 0.0, 0.0]}, "trained"),
        held("lru", {1: [1.0, 1.0, 0.5], 2: [0.0, 0.0, 0.0]}, "initial"),
    ],
    ignore_index=True,
).astype({"model": pd.CategoricalDtype(["rnn", "gru", "lru"])})


def test_a_total_is_the_sum_over_delays_and_the_mean_over_seeds():
    found = memory_capacity.totals(CAPACITY[CAPACITY["stage"] == "trained"])
    assert found.loc["gru", 1] == pytest.approx((1.5 + 2.0) / 2)
    assert found.loc["gru", 2] == pytest.approx((0.25 + 0.14) / 2)
    assert found.loc["lru", 1] == 3


def test_what_capacity_found_names_the_largest_first_with_its_bound_and_start():
    assert memory_capacity.finding(CAPACITY).endswith(
        "lru 3.00 of at most 8 (2.50 before training), "
        "gru 1.75 of at most 8 (0.500 before training)."
    )


def test_the_lines_of_capacity_are_its_means_and_the_bars_end_at_its_totals():
    above, below, _ = memory_capacity.draw(CAPACITY).axes
    trained, initial, raw = (line.get_ydata() for line in above.lines[:3])
    np.testing.assert_allclose(trained, [1, 0.7, 0.05])
    np.testing.assert_allclose(initial, [0.5, 0, 0])
    np.testing.assert_allclose(raw, [1.01, 0.71, 0.06])
    ends = [bar.get_x() + bar.get_width() for bar in below.patches]
    np.testing.assert_allclose(ends, [1.75, 1.75 + 0.195, 3, 3])


def decoded(model: str, skill: list[float], control: float = 0.0) -> pd.DataFrame:
    frame = pd.DataFrame({"distance": [0, 1, 2, 4, 8][: len(skill)], "skill": skill})
    return frame.assign(model=model, control=control, seed=0, task="adding")


def test_what_decoding_found_is_the_last_distance_with_half_above_its_control():
    frame = pd.concat(
        [
            decoded("rnn", [0.8, 0.7, 0.3, 0.6, 0.1]),  # what comes back is not counted
            decoded("gru", [1.0, 1.0, 0.9, 0.9, 0.8]),
            decoded("lstm", [0.6, 0.3], control=0.2),
            decoded("tcn", [0.0, 0.0]),
        ],
        ignore_index=True,
    )
    assert state_decoding.finding(frame).endswith("steps: gru ≥ 8, lstm 0, rnn 1, tcn 0.")


def test_the_line_of_decoding_is_the_mean_over_seeds_and_its_control_dashed():
    frame = pd.concat(
        [decoded("gru", [1.0, 0.5], 0.1), decoded("gru", [0.8, 0.1], -0.1).assign(seed=1)],
        ignore_index=True,
    )
    (axes,) = state_decoding.draw(frame).axes
    skill, control = axes.lines
    np.testing.assert_allclose(skill.get_ydata(), [0.9, 0.3])
    np.testing.assert_allclose(control.get_ydata(), [0, 0], atol=1e-12)
    assert control.get_linestyle() == "--"


def noisy(model: str, horizon: dict[float, int]) -> pd.DataFrame:
    """A frame of one model that answers all lags up to a horizon of its own at each σ."""
    lag = np.tile(np.arange(1, 41), 30)
    parts = [
        pd.DataFrame({"sigma": sigma, "lag": lag, "skill": (lag <= last).astype(float)})
        for sigma, last in horizon.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(sequence=frame.groupby("sigma").cumcount(), seed=0, model=model, task="t")


NOISY = pd.concat(
    [
        noisy("rnn", {0.0: 20, 0.1: 4, 0.3: 0}),
        noisy("gru", {0.0: 40, 0.1: 40, 0.3: 24}),
    ],
    ignore_index=True,
).astype({"model": pd.CategoricalDtype(["rnn", "gru"])})


def test_what_noise_found_names_the_most_tolerant_first():
    """The rnn has half of its skill, 0.25, between 0.5 at σ 0 and 0.1 at σ 0.1."""
    assert state_noise.finding(NOISY).endswith("the σ: gru ≥ 0.300, rnn 0.0625.")


def test_the_lines_of_noise_are_its_mean_skill_and_its_horizon():
    above, below = state_noise.draw(NOISY).axes
    skill = [line.get_ydata() for line in above.lines[:2]]
    np.testing.assert_allclose(skill, [[0.5, 0.1, 0.0], [1, 1, 0.6]])
    rnn, gru = (line.get_ydata() for line in below.lines)
    np.testing.assert_allclose(rnn[:2], [20, 4], atol=1.5)
    np.testing.assert_allclose(gru, [40, 40, 24], atol=1.5)
    assert rnn[2] < 1.5
    assert [label.get_text() for label in below.get_xticklabels()] == ["0", "0.1", "0.3"]
