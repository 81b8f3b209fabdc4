import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lookback.summarise.memory_card import CARD
from lookback.summarise.theory import PREDICTORS, failing_lags, holm, spearman, theory

TASKS = ("copy", "adding", "recall")
MODELS = ("rnn", "lstm", "gru", "lru", "attention", "transformer", "tcn", "mingru")


def card(horizon: np.ndarray, **figures: np.ndarray) -> pd.DataFrame:
    """A card of three tasks × eight models with these columns, all else not measured."""
    cells = pd.DataFrame(itertools.product(TASKS, MODELS), columns=["task", "model"])
    cells = cells.iloc[: len(horizon)].reindex(columns=list(CARD))
    return cells.assign(horizon=horizon, **({"horizon_censored": False} | figures))


def planted(noise: float = 0.0) -> pd.DataFrame:
    """The horizon is thrice the half-distance after training."""
    generator = np.random.default_rng(3)
    half = np.exp(generator.uniform(1, 5, 24))
    horizon = 3 * half * np.exp(noise * generator.normal(size=24))
    return card(horizon, half_distance_trained=half, lyapunov=-math.log(2) / half)


def by_figure(frame: pd.DataFrame) -> pd.DataFrame:
    return theory(frame, failing_lags(frame)).set_index("quantity")


def test_a_figure_that_grows_with_the_horizon_has_a_rank_correlation_of_one():
    found = by_figure(planted())
    assert list(found.index) == ["half_distance_trained", "lyapunov", "predicted"]
    for figure in ("half_distance_trained", "lyapunov"):
        row = found.loc[figure]
        assert row[["spearman", "low", "high"]].to_list() == pytest.approx([1, 1, 1])
        assert row["p"] == pytest.approx(2 / 10_000)  # the smallest of 9,999 permutations
        assert row["holm"] == pytest.approx(4 / 10_000)
        assert (row["cells"], row["censored"]) == (24, 0)


def test_a_planted_law_is_found_on_the_tasks_left_out():
    lags = failing_lags(planted())
    assert lags["error"].max() < 0.05
    assert lags["constant_error"].median() > 0.5
    assert spearman(lags["predicted"].to_numpy(), lags["horizon"].to_numpy()) > 0.99


def test_figures_that_say_nothing_have_an_interval_around_zero_and_predict_no_better_than_a_mean():
    generator = np.random.default_rng(5)
    noise = {figure: np.exp(generator.normal(size=24)) for figure in PREDICTORS}
    frame = card(np.exp(generator.uniform(0, 5, 24)), **noise)
    found = by_figure(frame).loc[PREDICTORS]
    assert (found["low"] < 0).all()
    assert (found["high"] > 0).all()
    assert (found["holm"] > 0.05).all()
    lags = failing_lags(frame)
    assert lags["error"].median() > 0.8 * lags["constant_error"].median()


def test_spearman_is_that_of_scipy_with_ties():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 6, (2, 5, 17)).astype(float)
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert spearman(x, y) == pytest.approx(np.array(expected))


def test_of_few_cells_the_p_is_the_share_of_all_orders():
    frame = card(np.array([1.0, 2, 3, 4, 5]), capacity=np.array([1.0, 2, 3, 5, 4]))
    orders = itertools.permutations([1.0, 2, 3, 5, 4])
    at_least = [spearman(np.array(o), frame["horizon"].to_numpy()) >= 0.9 - 1e-9 for o in orders]
    assert by_figure(frame).loc["capacity", "p"] == pytest.approx(2 * np.mean(at_least))


def test_holm_s_correction_is_that_of_his_paper():
    found = holm(np.array([0.01, 0.04, math.nan, 0.03, 0.005]))
    assert found == pytest.approx([0.03, 0.06, math.nan, 0.06, 0.02], nan_ok=True)


def test_a_figure_without_end_ranks_above_all_others():
    frame = planted()
    top = frame["horizon"] == frame["horizon"].max()
    frame.loc[top, "half_distance_trained"] = math.inf
    assert by_figure(frame).loc["half_distance_trained", "spearman"] == pytest.approx(1)
    assert failing_lags(frame)["predicted"].between(0, 1e4).all()


def test_a_censored_cell_is_right_when_it_is_predicted_past_the_longest_lag():
    whole = planted()
    longest = 100.0
    cut = whole["horizon"] > longest
    frame = whole.assign(horizon=whole["horizon"].clip(upper=longest), horizon_censored=cut)
    lags = failing_lags(frame)
    beyond = lags["predicted"] >= longest
    assert (lags["censored"] & beyond).any()
    assert (lags["error"][lags["censored"] & beyond] == 0).all()
    short = lags[~(lags["censored"] & beyond)]
    expected = (short["predicted"] - short["horizon"]).abs() / short["horizon"]
    assert short["error"].to_list() == pytest.approx(expected.to_list())
    found = by_figure(frame).loc["half_distance_trained"]
    assert (found["cells"], found["censored"]) == (24, cut.sum())
    ties = stats.spearmanr(frame["half_distance_trained"], frame["horizon"]).statistic
    assert found["spearman"] == pytest.approx(ties)


def test_a_horizon_of_zero_is_judged_in_steps():
    frame = planted()
    frame.loc[0, "horizon"] = 0.0
    row = failing_lags(frame).iloc[0]
    assert row["error"] == pytest.approx(row["predicted"])


def test_a_model_without_a_figure_is_predicted_by_the_others_of_its_kind():
    """Transformers have no exponent and always the same horizon: the indicator tells them."""
    frame = planted()
    blind = frame["model"] == "transformer"
    frame.loc[blind, ["lyapunov", "half_distance_trained"]] = math.nan
    frame.loc[blind, "horizon"] = 1000.0
    lags = failing_lags(frame).set_index("model")
    assert lags.loc["transformer", "error"].max() < 0.1


@pytest.mark.parametrize("count", [3, 8])
def test_of_one_task_or_a_few_cells_nothing_is_predicted(count: int):
    lags = failing_lags(planted().iloc[:count])
    assert len(lags) == count
    assert lags[["predicted", "error", "constant", "constant_error"]].isna().all(axis=None)
    found = theory(planted().iloc[:count], lags).set_index("quantity")
    assert found.loc["half_distance_trained", "spearman"] == pytest.approx(
        1 if count == 8 else math.nan, nan_ok=True
    )
    assert math.isnan(found.loc["predicted", "spearman"])


def test_cells_that_all_remember_as_far_cannot_be_ranked():
    frame = card(np.full(24, 200.0), half_distance_trained=np.arange(24.0), horizon_censored=True)
    found = by_figure(frame).loc["half_distance_trained"]
    assert math.isnan(found["spearman"])
    assert found["censored"] == 24


def test_a_card_without_horizons_gives_empty_tables():
    frame = card(np.full(24, math.nan), half_distance_trained=np.arange(24.0))
    assert failing_lags(frame).empty
    assert list(by_figure(frame).index) == ["predicted"]
    assert by_figure(frame).loc["predicted", "cells"] == 0
