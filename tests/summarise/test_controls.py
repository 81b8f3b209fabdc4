import pandas as pd
import pytest

from lookback.summarise.controls import beside_controls

NAN = float("nan")


def scored(explainer: str, mean: float, model: str = "gru", **controls: float) -> dict:
    """A row of the table of scores."""
    shared = {"chance": 0.5, "position": 0.5, "magnitude": 0.5, "untrained": 0.5}
    shared |= {"oracle": 1.0, "share": 1.0, **controls}
    return {"task": "t", "model": model, "explainer": explainer, "score": "auc", "mean": mean} | (
        shared
    )


def beside(*rows: dict) -> list[dict]:
    return list(beside_controls(pd.DataFrame(rows)))


def test_the_best_explainer_has_the_largest_gain_and_controls_are_the_best_of_any_explainer():
    (row,) = beside(scored("weak", 0.6, position=0.7), scored("good", 0.9))
    assert row["explainer"] == "good"
    assert row["value"] == pytest.approx(0.9)
    assert row["position"] == 0.7
    assert row["near"] == ""
    assert row["oracle_is_best"]


def test_a_control_within_a_tenth_of_the_gain_is_near():
    """The gain of the best explainer is 0.4, so a control is near from 0.86 on."""
    for magnitude, near in ((0.85, ""), (0.87, "magnitude"), (1.0, "magnitude")):
        (row,) = beside(scored("good", 0.9, magnitude=magnitude))
        assert row["near"] == near


def test_no_control_is_near_an_explainer_without_gain():
    (row,) = beside(scored("none", 0.4))
    assert row["near"] == ""


def test_a_score_by_which_the_evidence_itself_is_beaten_is_broken_and_unknown_evidence_is_not():
    (row,) = beside(scored("good", 0.9, oracle=0.6))
    assert not row["oracle_is_best"]
    (row,) = beside(scored("good", 0.9, oracle=NAN))
    assert row["oracle_is_best"]


def test_each_model_has_a_row_of_its_own():
    rows = beside(scored("one", 0.8), scored("two", 0.9, model="lstm"), scored("two", 0.6))
    assert [(row["model"], row["explainer"]) for row in rows] == [("gru", "one"), ("lstm", "two")]
    assert rows[0]["value"] == 0.8


def test_without_scores_there_are_no_rows():
    nothing = scored("wrong", NAN)
    assert not beside(nothing)
    assert not list(beside_controls(pd.DataFrame(columns=list(nothing)).astype({"mean": float})))
