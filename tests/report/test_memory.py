import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lookback.report.card_table import agreement_sentence
from lookback.report.figures import failing_lag, memory_card
from lookback.report.numbers import percent, shown, steps
from lookback.report.result_tables import comparisons
from lookback.report.theory_section import findings, prediction_sentence
from lookback.summarise.memory_card import CARD
from lookback.summarise.theory import failing_lags, theory
from tests.fake_memory import HALF, write_memory
from tests.fake_study import MODELS, write_study

from .conftest import Made, make

TASKS = ("adding", "digits_rows")


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The report of two tasks whose horizon is three half-distances of the gradient."""
    return make(write_memory(tmp_path_factory.mktemp("memory"), tasks=TASKS))


def sentences(made: Made) -> str:
    """The section on the theory, as text."""
    section = made.text.partition("Does theory predict the memory horizon")[2]
    return re.sub(r"<[^>]+>", "", section.partition("<table")[0])


def cards(rows: list[tuple[str, str, float, float]]) -> pd.DataFrame:
    """Cells with their horizon and the half-distance of their gradient."""
    frame = pd.DataFrame(rows, columns=["task", "model", "horizon", "half_distance_trained"])
    return frame.reindex(columns=list(CARD)).assign(horizon_censored=False, horizon_below=False)


def said(card: pd.DataFrame) -> str:
    lags = failing_lags(card)
    return " ".join(findings(theory(card, lags, []), lags)).replace("\N{NO-BREAK SPACE}", " ")


def test_the_card_shows_what_was_planted(memory: Made):
    head, *rows = memory.table("memory horizon (steps)")
    assert head[:3] == ["task", "model", "memory horizon (steps)"]
    column = head.index("gradient half-distance, trained (steps)")
    cells = {(row[1], row[column], row[column + 1]) for row in rows}
    assert ("lstm", "14", "4.7") in cells
    assert ("rnn", "2", "0.7") in cells
    full = memory.csv("memory_card").set_index(["task", "model"])
    for task in TASKS:
        for model in MODELS:
            row = full.loc[task, model]
            assert row["half_distance_trained"] == pytest.approx(HALF[task, model])
            planted = 3 * HALF[task, model]
            assert row["horizon"] == pytest.approx(min(planted, 120), rel=0.1)
            assert row["horizon_censored"] == (planted > 120)
            assert row["train_seconds"] == pytest.approx(10.25)
    longest = [row[2].partition(" | ")[0] for row in rows if row[1] == "transformer"]
    assert longest == ["≥ 120", "≥ 120"]


def test_what_does_not_apply_to_a_model_is_a_dash(memory: Made):
    head, *rows = memory.table("memory horizon (steps)")
    transformer = next(row for row in rows if row[1] == "transformer")
    assert transformer[head.index("first Lyapunov exponent (nats per step)")] == "–"
    assert transformer[head.index("time constant of the gates (steps)")] == "–"


def test_a_planted_law_orders_all_pairs(memory: Made):
    text = sentences(memory)
    assert "has a concordance of 1.00 with the measured one" in text
    assert (memory.page.parent / "figures" / "memory_card.svg").exists()
    assert (memory.page.parent / "figures" / "failing_lag.svg").exists()
    table = memory.table("concordance")
    assert table[1][0] == "gradient half-distance, trained"
    assert float(table[1][1]) > 0.95
    assert memory.csv("theory_map")["task"].nunique() == len(TASKS)


def test_a_study_without_probes_has_no_card(tmp_path: Path):
    made = make(write_study(tmp_path, tasks=("adding",), probes={}, explainers={}))
    assert 'id="memory"' not in made.text
    assert 'href="#memory"' not in made.text


def test_where_the_bar_is_met_that_is_said():
    lags = pd.DataFrame({"predicted_error": [0.1, 0.3, 0.15], "constant_error": 0.9})
    text = prediction_sentence("predicted", 0.95, lags).replace("\N{NO-BREAK SPACE}", " ")
    assert "a median error of 15 % (90 % for the geometric mean" in text
    assert "2 of 3 cells" in text
    assert text.endswith("is met.")
    assert "is not met." in prediction_sentence("predicted", 0.85, lags)


def test_where_the_bar_is_not_met_that_is_said():
    halves = [2.0, 5, 12, 30, 70]
    rows = [(t, f"m{i}", 3 * h, h) for t in ("copy", "recall") for i, h in enumerate(halves)]
    rows += [("parity", f"m{i}", 400 / h, h) for i, h in enumerate(halves)]
    assert "is not met." in said(cards(rows))


def test_one_task_is_not_judged_and_the_report_says_why():
    text = said(cards([("copy", f"m{i}", 3.0 * i, 1.0 * i) for i in range(1, 9)]))
    assert "it is larger for the longer horizon in 100 % of the pairs, more often" in text
    assert "not judged: cells with a horizon are needed on at least two tasks" in text


def test_an_order_that_is_reversed_is_named_before_a_weaker_one_that_is_not():
    rows = [("copy", f"m{i}", 3.0 * i, 1.0 / i) for i in range(1, 9)]
    capacity = [1.0, 2, 3, 4, 5, 6, 8, 7]
    text = said(cards(rows).assign(capacity=capacity).assign(half_distance_initial=5.0))
    assert "the gradient half-distance, trained orders the models best: it is smaller" in text
    assert "over 3 quantities" in text


def test_three_cells_are_too_few_for_anything():
    rows = [("copy", "rnn", 3.0, 1.0), ("copy", "gru", 9.0, 3.0), ("recall", "rnn", 4.0, 2.0)]
    text = said(cards(rows))
    assert "not judged: 3 cells with a horizon are too few" in text


def test_a_figure_that_ranks_by_chance_is_not_praised():
    generator = np.random.default_rng(1)
    values = np.exp(generator.normal(size=(12, 2)))
    rows = [(f"t{i % 3}", f"m{i}", *pair) for i, pair in enumerate(values)]
    assert "no more often than chance would give" in said(cards(rows))


def test_a_summary_without_any_horizon_is_reported(tmp_path: Path):
    plan = write_memory(tmp_path, tasks=("adding",))
    for path in (plan.parents[2] / "quick" / "adding").glob("*/probe/recall_by_lag.parquet"):
        path.unlink()
    made = make(plan)
    assert "No quantity can be compared" in sentences(made)
    assert "not judged" in sentences(made)
    assert all(len(table) > 1 for table in made.tables)  # none is a head alone


def test_the_figures_draw_one_point_a_cell_open_where_censored():
    card = cards([("copy", "rnn", 3.0, 1.0), ("copy", "gru", 90.0, math.inf)])
    card = card.assign(horizon_censored=[False, True])
    axes = memory_card.draw(card).axes
    assert [ax.get_xlabel() for ax in axes if ax.get_visible()] == [
        "gradient half-distance, trained\n(steps)"
    ]
    points = axes[0].lines
    assert [line.get_markerfacecolor() == "none" for line in points] == [False, True]
    lags = pd.DataFrame({"task": "copy", "model": ["rnn", "gru"], "horizon": [3.0, 90.0]})
    bounds = {"horizon_censored": [False, True], "horizon_below": False}
    lags = lags.assign(predicted=[4.0, math.nan], **bounds)
    diagonal, *points = failing_lag.draw(lags).axes[0].lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in points] == [(3.0, 4.0)]


def test_where_exponent_and_backward_rate_do_not_agree_is_said():
    card = pd.DataFrame({"task": ["copy", "copy", "adding"], "model": ["rnn", "gru", "rnn"]})
    rates = {"lyapunov": [-0.1, math.nan, -0.001], "rate_difference": [0.02, math.nan, 0.0013]}
    said = agreement_sentence(card.assign(**rates))
    assert said.replace("\N{NO-BREAK SPACE}", " ") == (
        "Lyapunov exponent and backward rate agree within 0.005 nats per step or 5 % in 1 of 2 "
        "cells; they differ by more in copy × rnn 0.0200 (20 %)."
    )
    assert agreement_sentence(card.assign(lyapunov=0.1, rate_difference=math.nan)) == ""


def test_steps_lags_and_shares_are_short():
    assert [steps(v) for v in (0, 2.34, 34.6, 12_345, math.inf, math.nan)] == [
        *("0", "2.3", "35", "12,345", "∞", "–")
    ]
    assert shown(250.0, "steps", is_censored=True) == "≥ 250"
    assert shown(10.0, "steps", is_below=True) == "< 10"
    assert percent(0.204) == "20\N{NO-BREAK SPACE}%"


def test_of_one_pair_of_models_nothing_is_to_be_corrected():
    assert comparisons(1, 1) == ""
    assert "corrected" not in comparisons(2, 1)
    assert "corrected for 2 rivals." in comparisons(3, 1)
