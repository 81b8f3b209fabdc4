import math

import numpy as np
import pytest
from scipy import stats

from lookback.summarise.seed_intervals import interval, quantile


def test_the_interval_is_that_of_student():
    values = [0.91, 0.95, 0.92]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = interval(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    corrected = stats.ttest_1samp(values, 0).confidence_interval(0.99)
    reach = quantile(2, comparisons=5) * stats.sem(values)
    assert found.mean - reach == pytest.approx(corrected.low)


def test_one_seed_has_a_mean_but_no_interval():
    assert interval([0.7]).mean == 0.7
    assert math.isnan(interval([0.7]).low)
    assert math.isnan(interval([0.7]).high)


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [0.5, math.inf]])
def test_what_is_not_finite_has_no_mean(values: list[float]):
    assert all(map(math.isnan, interval(values)))
