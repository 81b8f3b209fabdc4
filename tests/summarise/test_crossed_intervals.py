import math

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from lookback.summarise.crossed_intervals import (
    answer_table,
    compare,
    crossed_interval,
    interval_of,
    paired_winner,
    spread,
)

DIFFICULTY = 3.0  # standard deviation over sequences, in logits


def answers(
    generator: np.random.Generator, seeds: int, spread_of_seeds: float, shared: np.ndarray
) -> np.ndarray:
    """Right or wrong answers (seed, sequence); the chance of each is a sum on the logit scale."""
    skill = 1.5 + generator.normal(0, spread_of_seeds, (seeds, 1))
    chance = special.expit(skill + shared)
    return (generator.random(chance.shape) < chance).astype(float)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("spread_of_seeds", "least"), [(0.5, 0.91), (1.0, 0.88)])
def test_the_interval_holds_the_truth_where_all_seeds_answer_the_same_sequences(
    seeds: int, spread_of_seeds: float, least: float
):
    """Bars of bench/statistics.py: 0.93 and 0.90; here less two standard errors of 400 studies."""
    generator = np.random.default_rng(seeds)
    wide = np.hypot(spread_of_seeds, DIFFICULTY)
    truth = special.expit(1.5 + generator.normal(0, wide, 1_000_000)).mean()
    held = 0
    for _ in range(400):
        shared = generator.normal(0, DIFFICULTY, (1, 200))
        found = crossed_interval(answers(generator, seeds, spread_of_seeds, shared), "accuracy")
        held += found.low <= truth <= found.high
    assert least <= held / 400 <= 0.985


@pytest.mark.parametrize("metric", ["accuracy", "mse"])
@pytest.mark.parametrize("models", [2, 5])
def test_equal_models_seldom_have_a_winner(metric: str, models: int):
    generator, named = np.random.default_rng(models), 0
    for _ in range(200):
        shared = generator.normal(0, 1, (1, 200))
        tables = {str(m): answers(generator, 3, 0.5, shared) for m in range(models)}
        if metric == "mse":
            spread_out = generator.chisquare(1, (models, 3, 200)) * np.exp(shared)
            factors = np.exp(generator.normal(0, 0.5, (models, 3, 1)))
            tables = {str(m): spread_out[m] * factors[m] for m in range(models)}
        named += not compare(tables, metric, "higher").close
    assert named <= 0.08 * 200  # 0.05, and two standard errors


def test_a_better_model_wins_where_hard_sequences_make_both_intervals_overlap():
    generator = np.random.default_rng(0)
    level = generator.normal(0, 1, 400)
    tables = {
        name: level + shift + generator.normal(0, 0.05, (3, 400)) for name, shift in PAIR.items()
    }
    one, other = (crossed_interval(tables[name], "skill") for name in PAIR)
    assert one.low < other.high
    assert compare(tables, "skill", "higher") == ("a", [])
    assert compare(tables, "skill", "lower") == ("b", [])


PAIR = {"a": 0.05, "b": 0.0}


def test_the_spread_of_seeds_alone_is_that_of_student():
    """Every sequence is alike: what is left is a t interval of the seeds' means."""
    means = np.array([0.3, 0.5, 0.7, 0.6])
    table = np.repeat(means[:, None], 50, axis=1)
    found = crossed_interval(table, "skill")
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_spread_of_sequences_alone_is_that_of_their_means():
    generator = np.random.default_rng(1)
    table = np.repeat(generator.normal(size=(1, 60)), 3, axis=0)
    error, freedom = spread([table])
    assert error == pytest.approx(stats.sem(table[0]))
    assert freedom == pytest.approx(59)


def test_mean_squares_are_those_of_a_two_way_table():
    """Sums over a long table by pandas, against means of rows and columns."""
    generator = np.random.default_rng(2)
    table = generator.normal(size=(4, 30)) + 3 * generator.normal(size=(4, 1))
    long = pd.DataFrame(table).stack().rename_axis(["seed", "sequence"]).reset_index(name="y")
    seed = long.groupby("seed")["y"].transform("mean")
    sequence = long.groupby("sequence")["y"].transform("mean")
    whole = long["y"].mean()
    of_seeds = ((seed - whole) ** 2).sum() / 3
    of_sequences = ((sequence - whole) ** 2).sum() / 29
    left = ((long["y"] - seed - sequence + whole) ** 2).sum() / (3 * 29)
    error, freedom = spread([table])
    variance = (of_seeds + of_sequences - left) / 120
    assert error**2 == pytest.approx(variance)
    scatter = of_seeds**2 / 3 + of_sequences**2 / 29 + left**2 / (3 * 29)
    assert freedom == pytest.approx((120 * variance) ** 2 / scatter)


def test_the_mean_of_the_middle_seeds_shrugs_off_one_lucky_seed():
    table = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 9.0])[:, None] + np.zeros((1, 5))
    middle, whole = crossed_interval(table, "skill", cut=2), crossed_interval(table, "skill")
    assert middle.mean == pytest.approx(0.1)
    assert middle.low == pytest.approx(0.1)
    assert whole.mean > 1


def test_the_middle_seeds_have_the_error_of_a_trimmed_t_test():
    means = np.random.default_rng(4).normal(size=(2, 8))
    error, freedom = spread([np.repeat(means[0][:, None], 20, 1)], cut=2)
    other = np.repeat(means[1][:, None], 20, 1)
    found = stats.ttest_ind(means[0], means[1], equal_var=False, trim=0.25)
    both = math.hypot(error, spread([other], cut=2).error)
    difference = stats.trim_mean(means[0], 0.25) - stats.trim_mean(means[1], 0.25)
    assert difference / both == pytest.approx(found.statistic)
    assert freedom == pytest.approx(3)


def test_rows_of_a_table_have_the_means_of_the_seeds_where_sequences_ask_unequally_often():
    generator = np.random.default_rng(3)
    sequence = np.repeat([0, 0, 0, 1, 2, 2], 2)
    seed = np.tile([4, 9], 6)
    value = generator.random(12)
    table = answer_table(value, seed, sequence)
    assert table.shape == (2, 3)
    assert table.mean(axis=1) == pytest.approx([value[seed == 4].mean(), value[seed == 9].mean()])
    once = generator.random((2, 5))
    indices = np.indices((2, 5))
    assert answer_table(once.ravel(), *(axis.ravel() for axis in indices)) == pytest.approx(once)


def test_bounds_stay_within_what_is_possible():
    generator = np.random.default_rng(5)
    shared = generator.normal(0, 1, (1, 50))
    found = crossed_interval(answers(generator, 3, 2.0, shared + 3), "accuracy")
    assert 0 < found.low < found.mean < found.high < 1
    assert crossed_interval(generator.chisquare(1, (3, 9)) * [[1], [9], [80]], "mse").low > 0


def test_where_every_answer_is_right_the_lower_bound_is_that_of_clopper_and_pearson():
    found = crossed_interval(np.ones((3, 40)), "accuracy")
    expected = stats.binomtest(40, 40).proportion_ci(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, 1.0))
    assert crossed_interval(np.zeros((3, 40)), "accuracy").high == pytest.approx(1 - expected.low)


def test_one_seed_has_a_mean_but_no_interval_and_wins_nothing():
    found = crossed_interval(np.array([[0.0, 1.0, 1.0, 0.0]]), "accuracy")
    assert found.mean == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    tables = {"a": np.ones((1, 4)), "b": np.zeros((3, 4))}
    assert compare(tables, "accuracy", "higher") == ("a", ["b"])


@pytest.mark.parametrize("table", [np.array([[0.5, math.inf]] * 2), np.zeros((0, 0))])
def test_what_is_not_finite_has_no_mean(table: np.ndarray):
    assert all(map(math.isnan, crossed_interval(table, "accuracy")))


def answered(**methods: np.ndarray) -> pd.DataFrame:
    """The answers of some methods, each given as an array (seed, sequence)."""
    seeds, sequences = next(iter(methods.values())).shape
    rows = pd.MultiIndex.from_product((range(seeds), range(sequences)), names=["seed", "sequence"])
    return pd.DataFrame({name: values.ravel() for name, values in methods.items()}, index=rows)


def of_seeds(*values: float) -> np.ndarray:
    """One value per seed, the same for four sequences."""
    return np.repeat(np.array(values)[:, None], 4, axis=1)


def test_where_sequences_are_alike_the_interval_is_that_of_student_over_seeds():
    values = (0.91, 0.95, 0.92)
    answers = answered(a=of_seeds(*values))["a"]
    for level, comparisons in ((0.95, 1), (0.99, 5)):
        expected = stats.ttest_1samp(values, 0).confidence_interval(level)
        found = interval_of(answers, comparisons)
        assert found.mean == pytest.approx(np.mean(values))
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_a_mean_but_no_interval_and_without_answers_there_is_no_mean():
    assert interval_of(answered(a=of_seeds(0.7))["a"]).mean == 0.7
    assert math.isnan(interval_of(answered(a=of_seeds(0.7))["a"]).low)
    assert all(map(math.isnan, interval_of(answered(a=of_seeds(math.nan, math.nan))["a"])))


def test_the_mean_of_answers_of_which_some_are_missing_is_that_over_the_means_of_the_seeds():
    values = np.array([[0.1, 0.2, math.nan, math.nan], [0.5, math.nan, 0.6, 0.7]])
    found = interval_of(answered(a=values)["a"])
    assert found.mean == pytest.approx((0.15 + 0.6) / 2)
    assert found.low < found.mean < found.high
    lost = np.vstack([values, np.full(4, math.nan)])  # a seed without an answer
    assert interval_of(answered(a=lost)["a"]) == found


@pytest.mark.parametrize("share_of_right", [1.0, 0.6])
@pytest.mark.parametrize("methods", [2, 3])
def test_random_methods_seldom_have_a_winner(methods: int, share_of_right: float):
    """The largest mean of three random methods with three seeds is above chance in 3 of 10."""
    generator, named = np.random.default_rng(methods), 0
    for _ in range(400):
        shared = generator.normal(0, 1, (1, 32))
        right = generator.random((3, 32)) < share_of_right
        drawn = {
            str(method): np.where(
                right,
                shared + 0.1 * generator.normal(size=(3, 1)) + generator.normal(size=(3, 32)),
                math.nan,
            )
            for method in range(methods)
        }
        named += paired_winner(answered(**drawn)) is not None
    assert named <= 0.07 * 400


def test_a_lead_on_every_seed_wins_however_different_the_seeds_are():
    seeds = np.array([0.2, 0.5, 0.9])
    methods = {"a": seeds, "b": seeds + np.array([0.1, 0.11, 0.1]), "c": seeds - 0.1}
    assert paired_winner(answered(**{m: of_seeds(*each) for m, each in methods.items()})) == "b"
    methods["c"] = seeds + np.array([0.3, -0.1, 0.1])
    assert paired_winner(answered(**{m: of_seeds(*each) for m, each in methods.items()})) is None


def test_two_methods_are_compared_on_the_answers_of_both():
    """The second method explains the first two sequences only, which are hard for both."""
    level = np.array([[0.1, 0.2, 0.9, 0.8], [0.2, 0.1, 0.8, 0.9], [0.1, 0.1, 0.9, 0.9]])
    few = np.where(np.arange(4) < 2, level, math.nan)
    assert paired_winner(answered(all=level, few=few)) is None
    assert paired_winner(answered(all=level, few=few - 0.01)) == "all"


def test_one_method_alone_or_one_seed_has_no_winner():
    assert paired_winner(answered(a=of_seeds(0.9, 0.9))) is None
    assert paired_winner(answered(a=of_seeds(0.9), b=of_seeds(0.1))) is None
