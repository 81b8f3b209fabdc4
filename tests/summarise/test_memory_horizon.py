import math

import numpy as np
import pandas as pd
import pytest

from lookback.summarise import hierarchical_bootstrap
from lookback.summarise.hierarchical_bootstrap import percentiles
from lookback.summarise.quantities.memory_horizon import (
    bins_of,
    crossings,
    memory_horizon,
    skill_by_lag,
)


def answers(failing: list[float], sequences: int = 400, longest: int = 200, seed: int = 0):
    """Perfect up to each seed's failing lag, then no better than the baseline."""
    generator = np.random.default_rng(seed)
    parts = []
    for number, fails in enumerate(failing):
        lag = generator.integers(1, longest + 1, (sequences, 3))
        columns = {"seed": number, "sequence": np.repeat(np.arange(sequences), 3)}
        columns |= {"lag": lag.ravel(), "skill": (lag.ravel() <= fails).astype(float)}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("fails", [12, 40, 130])
def test_a_step_of_skill_is_found_within_a_bin(fails):
    """24 bins to 200 are a factor of 1.25 wide, and the step may lie anywhere in one."""
    found = memory_horizon(answers([fails] * 5))
    assert abs(math.log(found.value / fails)) < math.log(1.25)
    assert found.low <= found.value <= found.high
    assert not found.censored


def test_where_skill_never_falls_the_longest_lag_is_given_as_censored():
    assert memory_horizon(answers([200] * 3)) == (200, 200, 200, True)


def test_where_the_shortest_lags_fail_the_horizon_is_zero():
    assert memory_horizon(answers([0] * 3)) == (0, 0, 0, False)


def test_an_interval_that_some_resamples_never_leave_ends_at_the_longest_lag():
    found = memory_horizon(answers([30, 30, 30, 200, 200]))
    assert not found.censored
    assert found.low < 45
    assert found.high == 200


def test_a_fall_in_the_logarithm_of_the_lag_is_crossed_where_the_line_does():
    """With 1 − ln lag / ln 100 as skill, one half is at 10, whatever the bins."""
    lag = np.array([1.0, 4.0, 30.0, 100.0])
    skill = 1 - np.log(lag) / math.log(100)
    assert crossings(lag, skill[None], 100.0) == pytest.approx([10.0])


def test_a_skill_that_comes_back_does_not_lengthen_the_horizon():
    lag, skill = np.array([1.0, 10.0, 100.0]), np.array([[0.9, 0.5, 0.9], [0.9, 0.6, 0.51]])
    assert crossings(lag, skill, 120.0).tolist() == [10.0, 120.0]


def test_the_interval_over_seeds_holds_the_true_median_step_where_one_over_sequences_does_not(
    monkeypatch,
):
    """Seeds fail at lags spread by a factor of 1.5: all together are one half at the median, 40."""
    monkeypatch.setattr(hierarchical_bootstrap, "RESAMPLES", 200)
    generator, held, flat, studies = np.random.default_rng(0), 0, 0, 40
    for study in range(studies):
        fails = 40 * np.exp(generator.normal(0, math.log(1.5), 9))
        frame = answers(list(fails), sequences=100, seed=study)
        found = memory_horizon(frame)
        held += found.low < 40 < found.high
        own = frame.assign(sequence=frame["sequence"] + 100 * frame["seed"], seed=0)
        curve = skill_by_lag(own)  # as though one model had answered all sequences
        low, high = percentiles(crossings(curve.lag, curve.draws, curve.longest))
        flat += low < 40 < high
    assert held >= 0.85 * studies
    assert flat <= 0.6 * studies


def test_every_bin_has_enough_answers_and_follows_the_lag():
    lag = np.repeat([1.0, 2.0, 3.0, 8.0, 50.0, 51.0, 180.0], [500, 3, 250, 190, 30, 400, 60])
    group = bins_of(lag)
    assert (np.diff(group) >= 0).all()
    assert (np.bincount(group) >= 200).all()
    assert group[0] == 0
    assert group.max() >= 2


@pytest.mark.parametrize("lag", [[5.0], [3.0] * 900, [0.0, 9.0]])
def test_few_answers_or_one_lag_are_one_bin(lag):
    frame = pd.DataFrame({"seed": 0, "sequence": range(len(lag)), "lag": lag, "skill": 1.0})
    curve = skill_by_lag(frame)
    assert len(curve.lag) == 1
    assert memory_horizon(frame)[0] == max(lag)


def test_one_seed_has_a_horizon_but_no_interval():
    found = memory_horizon(answers([40]))
    assert 30 < found.value < 50
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert np.isnan(skill_by_lag(answers([40])).band()).all()


def test_no_answers_have_no_horizon():
    found = memory_horizon(answers([40]).head(0))
    assert math.isnan(found.value)
    assert not found.censored
