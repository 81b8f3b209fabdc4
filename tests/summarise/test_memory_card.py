import math

import numpy as np
import pandas as pd
import pytest

from lookback.summarise.memory_card import CARD, memory_card

CELL = {"task": "copy", "model": "gru"}


def results(**more: object) -> pd.DataFrame:
    """Two cells of which `gru` has these numbers."""
    row = {"better": "higher", "mean": 0.7, "baseline": 0.4, "parameters": 900, "seeds": 2}
    empty = {"better": "", "mean": math.nan, "baseline": math.nan, "parameters": None, "seeds": 0}
    return pd.DataFrame([CELL | row | more, CELL | {"model": "rnn"} | empty])


def of(probe: str, frame: pd.DataFrame) -> pd.Series:
    """The gru's row of the card of a study with this probe alone."""
    return memory_card(results(), {probe: frame.assign(**CELL)}).iloc[0]


def falling(quantity: str, stage: str, state: str, slopes: tuple[float, float]) -> pd.DataFrame:
    """What falls by `slopes` nats a step, by seed."""
    distance = np.arange(50)
    frames = [
        pd.DataFrame({"distance": distance, "log_norm": 3 + slope * distance, "seed": seed})
        for seed, slope in enumerate(slopes)
    ]
    return pd.concat(frames).assign(quantity=quantity, stage=stage, state=state)


def flow(*parts: tuple[str, str, str, tuple[float, float]]) -> pd.DataFrame:
    return pd.concat([falling(*part) for part in parts], ignore_index=True)


def test_every_cell_has_a_row_and_what_was_not_measured_is_not_a_number():
    card = memory_card(results(), {})
    assert list(card) == list(CARD)
    assert list(card["model"]) == ["gru", "rnn"]
    assert card.drop(columns=["skill", "parameters", "seeds"]).iloc[:, 2:].isna().sum(axis=None) > 0
    assert card["horizon"].isna().all()
    assert not card["horizon_censored"].any()


def test_skill_is_zero_at_the_baseline_and_one_where_all_is_right():
    assert memory_card(results(), {})["skill"].iloc[0] == pytest.approx(0.5)
    value = results(better="lower", mean=0.02, baseline=0.16)
    assert memory_card(value, {})["skill"].iloc[0] == pytest.approx(0.875)


def test_a_gradient_halves_where_it_is_half_and_not_at_the_rate_of_its_tail():
    """A fall by a factor of 1,000 within ten steps, and then a plateau."""
    frame = flow(("gradient", "trained", "hidden/0", (0.0, 0.0)))
    fall = -frame["distance"].clip(upper=10) * math.log(1000) / 10
    row = of("gradient_flow", frame.assign(log_norm=fall))
    assert row["half_distance_trained"] == pytest.approx(10 * math.log(2) / math.log(1000))
    assert not row["half_distance_trained_censored"]


def test_a_gradient_that_halves_every_ten_steps_has_that_half_distance():
    ten = -math.log(2) / 10
    frame = flow(
        ("gradient", "initial", "hidden/0", (2 * ten, 2 * ten)),
        ("gradient", "trained", "hidden/0", (5 * ten, 5 * ten)),
        ("gradient", "trained", "cell/0", (ten, 0.5 * ten)),  # lower median: ten steps
        ("jacobian", "trained", "state", (-0.01, -0.01)),
    )
    row = of("gradient_flow", frame)
    assert row["half_distance_initial"] == pytest.approx(5)
    assert row["half_distance_trained"] == pytest.approx(10)  # of the state that fades least
    assert row["jacobian_rate"] == pytest.approx(-0.01)


def test_a_gradient_that_does_not_fall_halves_beyond_the_longest_distance():
    frame = flow(("gradient", "trained", "hidden/0", (0.0, 0.1)))
    row = of("gradient_flow", frame)
    assert (row["half_distance_trained"], row["half_distance_trained_censored"]) == (49, True)


def test_a_state_of_which_one_step_reaches_the_answer_has_no_rate():
    frame = flow(("gradient", "trained", "hidden/1", (0.0, 0.0)))
    frame.loc[frame["distance"] > 0, "log_norm"] = math.nan
    assert math.isnan(of("gradient_flow", frame)["half_distance_trained"])


def test_the_exponent_and_the_rate_from_behind_differ_in_nats():
    exponents = pd.DataFrame(
        {"stage": ["trained", "trained", "trained", "initial"], "index": [0, 1, 0, 0]}
        | {"exponent": [-0.09, -5.0, -0.11, 0.3], "kaplan_yorke": 0.0, "seed": [0, 0, 1, 0]}
    ).assign(**CELL)
    backward = flow(("jacobian", "trained", "state", (-0.1, -0.108))).assign(**CELL)
    card = memory_card(results(), {"lyapunov": exponents, "gradient_flow": backward})
    assert card["lyapunov"].iloc[0] == pytest.approx(-0.1)
    assert card["rate_difference"].iloc[0] == pytest.approx(0.004)
    assert card.loc[1, ["lyapunov", "rate_difference"]].isna().all()


def test_the_capacity_is_the_sum_over_all_delays_negative_estimates_too():
    """An estimate without bias stays one only if its negative values are added, too."""
    rows = [
        ("trained", 1, 1, 0.9, 0),
        ("trained", 1, 2, 0.5, 0),
        ("trained", 1, 3, -0.2, 0),
        ("trained", 1, 1, 1.0, 1),
        ("trained", 2, 1, 0.7, 0),
        ("initial", 1, 1, 1.0, 0),
    ]
    frame = pd.DataFrame(rows, columns=["stage", "degree", "delay", "capacity", "seed"])
    frame = frame.assign(scale=1.0, bound=8)
    assert of("memory_capacity", frame)["capacity"] == pytest.approx((1.2 + 1.0) / 2)


def test_decoding_ends_where_a_seed_was_not_measured_any_more():
    """The second seed stops at a distance of 2, so the third distance is of one seed alone."""
    frame = pd.DataFrame({"distance": [0, 1, 2, 3, 0, 1, 2], "seed": [0] * 4 + [1] * 3})
    row = of("state_decoding", frame.assign(skill=0.8, control=0.0))
    assert (row["decoding"], row["decoding_censored"]) == (2, True)


def decoded(excess: list[float], name: str = "decoding") -> float:
    frame = pd.DataFrame({"distance": range(len(excess)), "control": 0.1, "seed": 0})
    return of("state_decoding", frame.assign(skill=np.array(excess) + 0.1))[name]


def test_decoding_reaches_to_the_last_distance_above_half_of_the_first():
    assert decoded([0.8, 0.7, 0.41, 0.39, 0.6]) == 2  # what comes back later does not count
    assert not decoded([0.8, 0.7, 0.41, 0.39, 0.6], "decoding_censored")
    assert decoded([0.8, 0.7, 0.6]) == 2
    assert decoded([0.8, 0.7, 0.6], "decoding_censored")  # never below one half: at least 2
    assert decoded([0.01, 0.7, 0.6]) == 0  # it holds nothing to be lost


def test_the_context_is_the_least_that_gives_nearly_the_whole_skill():
    frame = pd.DataFrame({"context": [1, 10, 30, 100], "skill": [0.0, 0.5, 0.77, 0.8], "seed": 0})
    assert of("effective_context", frame)["context"] == 30
    assert math.isnan(of("effective_context", frame.assign(skill=0.01))["context"])


def test_the_timescale_is_that_of_the_slow_units_and_may_have_no_end():
    scales = pd.DataFrame({"timescale": [*range(1, 12), *range(4, 48, 4)]}, dtype=float)
    frame = scales.assign(seed=np.repeat([0, 1], 11), gate="forget")
    assert of("gate_timescales", frame)["timescale"] == pytest.approx(math.sqrt(10 * 40))
    frame.loc[:10, "timescale"] = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, math.inf, math.inf]
    assert of("gate_timescales", frame)["timescale"] == math.inf


def test_recall_that_never_falls_is_censored_at_the_longest_lag():
    lag, sequence, seed = (each.ravel() for each in np.mgrid[1:21, 0:200, 0:2])
    frame = pd.DataFrame({"lag": lag, "sequence": sequence, "seed": seed})
    row = of("recall_by_lag", frame.assign(skill=1.0))
    assert (row["horizon"], row["horizon_censored"], row["dead_seeds"]) == (20, True, 0)
    row = of("recall_by_lag", frame.assign(skill=0.0))
    assert (row["horizon"], row["horizon_below"], row["dead_seeds"]) == (1, True, 2)
    row = of("recall_by_lag", frame.assign(skill=np.where(lag > 5, 0.0, 1.0)))
    assert 5 <= row["horizon_low"] <= row["horizon"] <= row["horizon_high"] <= 6
    assert not row["horizon_censored"]


def tolerance(skill: list[float]) -> pd.Series:
    frame = pd.DataFrame({"sigma": [0.0, 0.1, 0.2, 0.4], "skill": skill, "lag": 3, "sequence": 0})
    return of("state_noise", frame.assign(seed=0))


def test_the_noise_tolerance_is_the_first_noise_at_which_half_of_the_skill_is_left():
    assert tolerance([0.8, 0.7, 0.5, 0.1])["noise_tolerance"] == pytest.approx(0.25)
    assert tolerance([0.8, 0.2, 0.6, 0.7])["noise_tolerance"] == pytest.approx(0.2 / 3)
    assert not tolerance([0.8, 0.2, 0.6, 0.7])["noise_tolerance_censored"]
    assert tolerance([0.8, 0.7, 0.6, 0.5])["noise_tolerance"] == 0.4
    assert tolerance([0.8, 0.7, 0.6, 0.5])["noise_tolerance_censored"]
    assert math.isnan(tolerance([0.01, 0.0, 0.0, 0.0])["noise_tolerance"])  # nothing to lose
