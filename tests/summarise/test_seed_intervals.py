import itertools
import math

import numpy as np
import pytest

from lookback.summarise.seed_intervals import Interval, interval, winner


def resampled_means(values: list[float]) -> list[float]:
    """The mean of every resample with replacement, each as likely as any other."""
    return [float(np.mean(each)) for each in itertools.product(values, repeat=len(values))]


def test_of_three_seeds_the_interval_holds_the_middle_of_all_27_resamples():
    values = [0.91, 0.95, 0.92]
    low, high = np.percentile(resampled_means(values), [2.5, 97.5], method="inverted_cdf")
    found = interval(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_of_five_seeds_a_fortieth_of_all_3125_resamples_lies_beyond_each_bound():
    values = [0.31, 0.85, 0.62, 0.58, 0.44]
    means, found = np.array(resampled_means(values)), interval(values)
    tiny = 1e-9  # sums in another order differ in their last bits
    assert np.mean(means < found.low - tiny) <= 0.03
    assert np.mean(means <= found.low + tiny) >= 0.02
    assert np.mean(means > found.high + tiny) <= 0.03
    assert np.mean(means >= found.high - tiny) >= 0.02


def test_the_interval_is_the_same_at_every_call():
    assert interval([0.1, 0.5, 0.3, 0.9]) == interval([0.1, 0.5, 0.3, 0.9])


def test_one_seed_has_a_mean_but_no_interval():
    assert interval([0.7]).mean == 0.7
    assert math.isnan(interval([0.7]).low)
    assert math.isnan(interval([0.7]).high)


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [0.5, math.inf]])
def test_what_is_not_finite_has_no_mean(values: list[float]):
    assert all(map(math.isnan, interval(values)))


APART = {
    "a": Interval(0.9, 0.88, 0.92),
    "b": Interval(0.8, 0.7, 0.87),
    "c": Interval(0.1, 0.0, 0.2),
}


def test_the_winner_is_clear_of_all_others_on_the_better_side():
    assert winner(APART, "higher") == "a"
    assert winner(APART, "lower") == "c"


def test_there_is_no_winner_among_overlapping_intervals():
    assert winner({**APART, "b": Interval(0.8, 0.7, 0.881)}, "higher") is None


def test_there_is_no_winner_where_intervals_touch():
    assert winner({**APART, "b": Interval(0.8, 0.7, 0.88)}, "higher") is None


def test_a_rival_of_one_seed_forbids_a_winner():
    assert winner({**APART, "b": Interval(0.2, math.nan, math.nan)}, "higher") is None


def test_one_model_alone_does_not_win():
    assert winner({"a": APART["a"]}, "higher") is None
