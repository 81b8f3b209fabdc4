import math

import numpy as np
import pytest
from scipy import stats

from lookback.summarise import hierarchical_bootstrap
from lookback.summarise.hierarchical_bootstrap import (
    hierarchical,
    interquartile_mean,
    mean,
    resampled,
)


def simulated(generator: np.random.Generator, seeds: int, sequences: int) -> np.ndarray:
    """Answers (seed, sequence) around 0; the seeds' own means spread by 0.1, the answers by 0.5."""
    means = generator.normal(0, 0.1, (seeds, 1))
    return means + generator.normal(0, 0.5, (seeds, sequences))


def indices(seeds: int, sequences: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(seeds), sequences), np.tile(np.arange(sequences), seeds)


def test_the_interval_holds_the_truth_in_19_of_20_studies_where_sequences_as_runs_hold_far_fewer(
    monkeypatch,
):
    monkeypatch.setattr(hierarchical_bootstrap, "RESAMPLES", 200)
    generator, studies, held, flat = np.random.default_rng(0), 200, 0, 0
    for _ in range(studies):
        values = simulated(generator, 15, 40)
        [found] = hierarchical(values.ravel(), *indices(15, 40), mean)
        held += found.low < 0 < found.high
        everything = values.ravel()
        drawn = everything[generator.integers(values.size, size=(200, values.size))].mean(axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        flat += low < 0 < high
    assert 0.91 <= held / studies <= 0.99  # 0.95, give or take 2.5 standard errors
    assert flat / studies < 0.8


def test_draws_spread_as_the_two_stages_of_the_definition_do():
    """A loop over seeds and sequences, as the definition says it, against sums and products."""
    generator = np.random.default_rng(1)
    values = simulated(generator, 4, 9)
    slow = [
        np.mean(
            [generator.choice(values[seed], 9).mean() for seed in generator.integers(4, size=4)]
        )
        for _ in range(4000)
    ]
    _, drawn = resampled(values.ravel(), *indices(4, 9), np.zeros(36, dtype=int))
    fast = (drawn.sums / drawn.counts).mean(axis=(1, 2))
    assert stats.ks_2samp(slow, fast).pvalue > 0.01


def test_answers_to_one_sequence_come_together():
    """Two sequences of many equal answers: a draw is 0, one half or 1, as of two single answers."""
    values = np.repeat([0.0, 1.0], 50)
    seeds, sequences = np.zeros(100, dtype=int), np.repeat([7, 3], 50)
    _, drawn = resampled(values, seeds, sequences, np.zeros(100, dtype=int))
    means = (drawn.sums / drawn.counts).ravel()
    assert set(means) == {0.0, 0.5, 1.0}
    assert np.mean(means == 0.5) == pytest.approx(0.5, abs=0.05)


def test_sums_by_group_are_those_of_the_answers_and_chunks_change_nothing(monkeypatch):
    generator = np.random.default_rng(2)
    values, groups = generator.random(60), generator.integers(3, size=60)
    seeds, sequences = np.repeat([5, 2], 30), generator.integers(4, size=60)
    found, whole = resampled(values, seeds, sequences, groups)
    for row, seed in enumerate((2, 5)):
        for group in range(3):
            own = values[(seeds == seed) & (groups == group)]
            assert found.sums[row, group] == pytest.approx(own.sum())
            assert found.counts[row, group] == len(own)
    monkeypatch.setattr(hierarchical_bootstrap, "AT_ONCE", 50)
    np.testing.assert_array_equal(resampled(values, seeds, sequences, groups)[1].sums, whole.sums)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 50])
def test_the_interquartile_mean_is_scipys_trimmed_by_a_quarter(count):
    values = np.random.default_rng(count).normal(size=(2, count))
    expected = stats.trim_mean(values, 0.25, axis=1)
    np.testing.assert_allclose(interquartile_mean(values), expected)
    np.testing.assert_allclose(interquartile_mean(values.T, axis=0), expected)


def test_of_interquartile_means_the_interval_shrugs_off_one_lucky_seed():
    values = np.repeat([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 9.0], 5)
    middle, whole = hierarchical(values, *indices(8, 5), interquartile_mean, mean)
    assert middle.mean == pytest.approx(0.1)
    assert middle.low == pytest.approx(0.1)
    assert whole.mean > 1


def test_the_interval_is_the_same_at_every_call():
    values = simulated(np.random.default_rng(3), 3, 5).ravel()
    first, again = (hierarchical(values, *indices(3, 5), mean) for _ in range(2))
    assert first == again


def test_one_seed_has_a_mean_but_no_interval():
    [found] = hierarchical([0.25, 0.75], [0, 0], [0, 1], mean)
    assert found.mean == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_has_no_mean(value):
    for nothing in (([0.5, value], [0, 1], [0, 0]), ([], [], [])):
        [found] = hierarchical(*nothing, mean)
        assert all(map(math.isnan, found))
