import numpy as np
import pandas as pd
import pytest

from lookback.report.figures import memory_capacity, state_decoding


def held(model: str, capacity: dict[int, list[float]], stage: str, seed: int = 0) -> pd.DataFrame:
    """A frame of one model as the probe leaves it: capacities by degree and delay."""
    parts = [
        pd.DataFrame({"degree": degree, "delay": range(len(values)), "capacity": values})
        for degree, values in capacity.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["raw"] = frame["capacity"] + 0.01
    return frame.assign(model=model, stage=stage, seed=seed, task="adding", bound=8)


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
    above, below = memory_capacity.draw(CAPACITY).axes
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
