import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from lookback.summarise import concordance
from lookback.summarise.censored_regression import likelihood
from lookback.summarise.concordance import agreement, longer_pairs, on_tasks_left_out
from lookback.summarise.memory_card import CARD
from lookback.summarise.theory import (
    BAR_CONCORDANCE,
    BAR_ERROR,
    PREDICTORS,
    failing_lags,
    holm,
    theory,
    theory_map,
)

TASKS = ("copy", "adding", "recall")
MODELS = ("rnn", "lstm", "gru", "lru", "attention", "transformer", "tcn", "mingru")


def card(horizon: np.ndarray, **figures: np.ndarray) -> pd.DataFrame:
    """A card of three tasks × eight models with these columns, all else not measured."""
    cells = pd.DataFrame(itertools.product(TASKS, MODELS), columns=["task", "model"])
    cells = cells.iloc[: len(horizon)].reindex(columns=list(CARD))
    bounds = {"horizon_censored": False, "horizon_below": False}
    return cells.assign(horizon=horizon, **(bounds | figures))


def planted() -> pd.DataFrame:
    """The horizon is thrice the half-distance after training."""
    half = np.exp(np.random.default_rng(3).uniform(1, 5, 24))
    return card(3 * half, half_distance_trained=half, lyapunov=-math.log(2) / half)


def by_figure(frame: pd.DataFrame) -> pd.DataFrame:
    return theory(frame, failing_lags(frame), []).set_index("quantity")


def censored(frame: pd.DataFrame, shortest: float, longest: float) -> pd.DataFrame:
    """The same horizons as far as lags from `shortest` to `longest` show them."""
    cut = {"horizon_censored": frame["horizon"] > longest}
    cut |= {"horizon_below": frame["horizon"] < shortest}
    return frame.assign(horizon=frame["horizon"].clip(shortest, longest), **cut)


def test_a_figure_that_grows_with_the_horizon_orders_every_pair():
    found = by_figure(planted())
    assert list(found.index) == ["half_distance_trained", "lyapunov", *found.index[-2:]]
    for figure in ("half_distance_trained", "lyapunov"):
        row = found.loc[figure]
        assert (row["concordance"], row["tasks_left_out"]) == (1, 1)
        assert row["p"] < 0.001
        assert row["holm"] == pytest.approx(2 * row["p"])
        assert (row["pairs"], row["cells"], row["censored"]) == (3 * 28, 24, 0)


@pytest.mark.parametrize("of_tasks", [0.0, 2.0])
def test_where_figures_say_nothing_p_is_below_a_twentieth_in_a_twentieth(of_tasks, monkeypatch):
    """Tasks shift horizon and figure: over all cells together p < .05 came in 46 of 100."""
    monkeypatch.setattr(concordance, "RESAMPLES", 199)
    generator, hits = np.random.default_rng(4), 0
    for _ in range(400):
        shift = of_tasks * np.repeat(generator.normal(size=3), 8)
        frame = card(
            np.exp(3 + shift + generator.normal(size=24)),
            capacity=np.exp(2 + shift + generator.normal(size=24)),
        )
        hits += agreement(censored(frame, 4, 60), "capacity").p < 0.05
    assert 0.025 * 400 <= hits <= 0.075 * 400


def test_pairs_whose_order_is_not_known_do_not_count():
    frame = card(np.array([1.0, 5.0, 20.0, 210.0, 300.0, 0.5]))
    pairs = longer_pairs(censored(frame, 2, 200))
    models = frame["model"].to_numpy()
    found = {(models[a], models[b]) for a, b in pairs}
    every = {(a, b) for a in ("lru", "attention") for b in ("rnn", "lstm", "gru", "transformer")}
    every |= {("gru", "lstm")}
    every |= {(a, b) for a in ("lstm", "gru") for b in ("rnn", "transformer")}
    assert found == every


def test_an_oracle_passes_the_bar_and_a_constant_or_a_huge_number_does_not():
    """Every censored cell is predicted somewhere past the longest lag."""
    whole = planted()
    frame = censored(whole, 12, 150)
    lags = failing_lags(frame)
    for name, values in {
        "oracle": whole["horizon"].to_numpy(),
        "constant": np.full(24, 40.0),
        "huge": np.full(24, 1e9),
    }.items():
        judged = lags.assign(predicted=values)
        exact = ~(judged["horizon_censored"] | judged["horizon_below"])
        error = ((judged["predicted"] - judged["horizon"]).abs() / judged["horizon"])[exact]
        found = agreement(judged, "predicted").concordance
        passes = found >= BAR_CONCORDANCE and error.median() <= BAR_ERROR
        assert passes == (name == "oracle")
        assert found == (1 if name == "oracle" else 0.5)


def test_a_planted_law_is_found_on_the_tasks_left_out_though_many_horizons_are_bounds():
    frame = censored(planted(), 12, 150)
    lags = failing_lags(frame)
    assert lags["predicted_error"].median() < BAR_ERROR
    assert lags["constant_error"].median() > 0.4
    assert by_figure(frame).loc["predicted", "concordance"] > BAR_CONCORDANCE
    is_bound = frame["horizon_censored"] | frame["horizon_below"]
    assert lags["predicted_error"].isna().equals(is_bound)


def test_figures_that_say_nothing_predict_no_better_than_a_mean():
    generator = np.random.default_rng(5)
    noise = {figure: np.exp(generator.normal(size=24)) for figure in PREDICTORS}
    frame = card(np.exp(generator.uniform(0, 5, 24)), **noise)
    assert (by_figure(frame).loc[PREDICTORS, "holm"] > 0.05).all()
    lags = failing_lags(frame)
    assert lags["predicted_error"].median() > 0.8 * lags["constant_error"].median()


def test_a_figure_whose_direction_differs_by_task_fails_on_tasks_left_out():
    """On two tasks it grows with the horizon, on the third it shrinks."""
    frame = planted()
    last = frame["task"] == "recall"
    frame.loc[last, "half_distance_trained"] = 1 / frame.loc[last, "half_distance_trained"]
    assert agreement(frame, "half_distance_trained").concordance == pytest.approx(2 / 3)
    assert on_tasks_left_out(frame, "half_distance_trained") < 0.5
    of_task = theory_map(frame).query("quantity == 'half_distance_trained'")
    assert dict(zip(of_task["task"], of_task["concordance"], strict=True)) == {
        "copy": 1.0,
        "adding": 1.0,
        "recall": 0.0,
    }


def test_seeds_left_out_are_those_of_the_other_half():
    frame = planted()
    worse = frame.assign(half_distance_trained=1 / frame["half_distance_trained"])
    found = theory(frame, failing_lags(frame), [frame, worse]).set_index("quantity")
    assert found.loc["half_distance_trained", "seeds_left_out"] == pytest.approx(0.5)
    assert math.isnan(by_figure(frame).loc["half_distance_trained", "seeds_left_out"])


def test_a_likelihood_has_the_derivatives_that_it_says():
    generator = np.random.default_rng(0)
    cells = censored(planted(), 12, 150)
    x = generator.normal(size=(24, 2))
    start = np.array([3.0, 0.5, -0.2, 0.3])

    def loss(parameters: np.ndarray) -> float:
        return float(likelihood(parameters, x, cells)[0].sum())

    _, by_mean, by_noise = likelihood(start, x, cells)
    gradient = [by_mean.sum(), *(x.T @ by_mean), by_noise.sum()]
    assert gradient == pytest.approx(optimize.approx_fprime(start, loss, 1e-7), rel=1e-4)


def test_holm_s_correction_is_that_of_his_paper():
    found = holm(np.array([0.01, 0.04, math.nan, 0.03, 0.005]))
    assert found == pytest.approx([0.03, 0.06, math.nan, 0.06, 0.02], nan_ok=True)


def test_a_figure_without_end_is_above_all_others():
    frame = planted()
    top = frame["horizon"] == frame["horizon"].max()
    frame.loc[top, "half_distance_trained"] = math.inf
    assert by_figure(frame).loc["half_distance_trained", "concordance"] == 1
    assert failing_lags(frame)["predicted"].between(0, 1e6).all()


def test_a_model_without_a_figure_is_predicted_by_the_others_of_its_kind():
    """Transformers have no exponent and always the same horizon: the indicator tells them."""
    frame = planted()
    blind = frame["model"] == "transformer"
    frame.loc[blind, ["lyapunov", "half_distance_trained"]] = math.nan
    frame.loc[blind, "horizon"] = 1000.0
    lags = failing_lags(frame).set_index("model")
    assert lags.loc["transformer", "predicted_error"].max() < 0.3


@pytest.mark.parametrize("count", [3, 8])
def test_of_one_task_nothing_is_predicted(count: int):
    lags = failing_lags(planted().iloc[:count])
    assert len(lags) == count
    columns = ["predicted", "predicted_error", "constant", "constant_error"]
    assert lags[columns].isna().all(axis=None)
    found = theory(planted().iloc[:count], lags, []).set_index("quantity")
    assert found.loc["half_distance_trained", "concordance"] == 1
    assert math.isnan(found.loc["predicted", "concordance"])


def test_cells_that_all_remember_as_far_cannot_be_compared():
    frame = card(np.full(24, 200.0), half_distance_trained=np.arange(24.0), horizon_censored=True)
    found = by_figure(frame).loc["half_distance_trained"]
    assert math.isnan(found["concordance"])
    assert (found["pairs"], found["censored"]) == (0, 24)


def test_a_card_without_horizons_gives_empty_tables():
    frame = card(np.full(24, math.nan), half_distance_trained=np.arange(24.0))
    assert failing_lags(frame).empty
    assert theory_map(frame).empty
    assert list(by_figure(frame).index) == ["predicted", "predicted_initial"]
    assert by_figure(frame).loc["predicted", "cells"] == 0
