import numpy as np
import pandas as pd
import pytest

from lookback.summarise.cells import Explained
from lookback.summarise.crossed_intervals import crossed_interval
from lookback.summarise.explainer_scores import spreads, values_of

SEEDS, COUNT = 3, 40
NOTHING = {"position": 0.4, "magnitude": 0.3, "untrained": 0.2, "oracle": 1.0}


def explained(auc: np.ndarray, is_right: np.ndarray, drop: float = 0.3) -> Explained:
    """What an explainer found, with the means of the seeds as stage `explain` computes them."""
    arrays = {
        "seeds": np.arange(SEEDS),
        "evidence_auc": auc,
        "is_right": is_right,
        "deletion": np.full(auc.shape, drop),
    }
    mean_of_right = [
        values[right].mean() if right.any() else np.nan
        for values, right in zip(auc, is_right, strict=True)
    ]
    rows = [
        {"seed": seed, "score": score, "value": value, "chance": 0.5, "share": share, **NOTHING}
        for seed in range(SEEDS)
        for score, value, share in (
            ("evidence_auc", mean_of_right[seed], is_right[seed].mean()),
            ("deletion", drop, 1.0),
        )
    ]
    return Explained(pd.DataFrame(rows), arrays)


@pytest.fixture
def auc() -> np.ndarray:
    """Areas that differ much by sequence and little by seed."""
    generator = np.random.default_rng(0)
    return 0.7 + 0.1 * generator.normal(size=COUNT) + 0.01 * generator.normal(size=(SEEDS, COUNT))


def rows_of(**measured: Explained) -> pd.DataFrame:
    return pd.DataFrame(spreads(measured)).set_index(["score", "explainer"])


def test_the_interval_is_crossed_over_seeds_and_sequences(auc: np.ndarray):
    everything = np.ones(auc.shape, dtype=bool)
    row = rows_of(one=explained(auc, everything)).loc[("evidence_auc", "one")]
    expected = crossed_interval(auc, "")
    assert list(row[["mean", "low", "high"]]) == pytest.approx(list(expected))
    assert not row["best"]


def test_wrong_answers_are_left_out_of_scores_with_evidence_alone(auc: np.ndarray):
    is_right = np.random.default_rng(1).random(auc.shape) < 0.7
    one = explained(np.where(is_right, auc, 100.0), is_right)
    found = rows_of(one=one)
    row = found.loc[("evidence_auc", "one")]
    of_seeds = one.scores[one.scores["score"] == "evidence_auc"]
    assert row["mean"] == pytest.approx(of_seeds["value"].mean())
    assert row["share"] == pytest.approx(is_right.mean())
    assert (row["seeds"], row["magnitude"], row["chance"]) == (SEEDS, 0.3, 0.5)
    assert found.loc[("deletion", "one"), "share"] == 1


def test_a_seed_without_a_right_answer_has_no_score(auc: np.ndarray):
    is_right = np.ones(auc.shape, dtype=bool)
    is_right[1] = False
    row = rows_of(one=explained(auc, is_right)).loc[("evidence_auc", "one")]
    assert row["mean"] == pytest.approx(auc[[0, 2]].mean())
    assert row["seeds"] == 2


def test_a_small_lead_on_the_same_answers_wins_where_the_intervals_overlap(auc: np.ndarray):
    everything = np.ones(auc.shape, dtype=bool)
    ahead = explained(auc + 0.02, everything)
    found = rows_of(one=explained(auc, everything), two=ahead).loc["evidence_auc"]
    assert found.loc["one", "high"] > found.loc["two", "low"]
    assert found["best"].to_dict() == {"one": False, "two": True}
    assert not rows_of(one=ahead, two=ahead)["best"].any()


def test_a_seed_outside_the_study_is_left_out(auc: np.ndarray):
    given = explained(auc, np.ones(auc.shape, dtype=bool))
    values = values_of(given.arrays, "evidence_auc", [0, 2])
    assert set(values.index.get_level_values("seed")) == {0, 2}
    assert values.mean() == pytest.approx(auc[[0, 2]].mean())
