import pandas as pd
import pytest

from lookback.summarise.controls import best_rows


def scored(values: list[float], **controls: float) -> pd.DataFrame:
    """The scores of an explainer, one seed each."""
    shared = {"chance": 0.5, "position": 0.5, "magnitude": 0.5, "untrained": 0.5}
    shared |= {"oracle": 1.0, "share": 1.0, **controls}
    rows = [{"seed": seed, "score": "auc", "value": value} for seed, value in enumerate(values)]
    return pd.DataFrame(rows).assign(**shared)


def test_the_best_explainer_has_the_largest_gain_and_controls_are_the_best_of_any_explainer():
    frames = {"weak": scored([0.6, 0.6], position=0.7), "good": scored([0.8, 1.0])}
    (row,) = best_rows(frames)
    assert row["explainer"] == "good"
    assert row["value"] == pytest.approx(0.9)
    assert row["position"] == 0.7
    assert row["near"] == ""
    assert row["oracle_is_best"]


def test_a_control_within_a_tenth_of_the_gain_is_near():
    """The gain of the best explainer is 0.4, so a control is near from 0.86 on."""
    for magnitude, near in ((0.85, ""), (0.87, "magnitude"), (1.0, "magnitude")):
        (row,) = best_rows({"good": scored([0.9], magnitude=magnitude)})
        assert row["near"] == near


def test_no_control_is_near_an_explainer_without_gain():
    (row,) = best_rows({"none": scored([0.4])})
    assert row["near"] == ""


def test_a_score_by_which_the_evidence_itself_is_beaten_is_broken_and_unknown_evidence_is_not():
    (row,) = best_rows({"good": scored([0.9], oracle=0.6)})
    assert not row["oracle_is_best"]
    (row,) = best_rows({"good": scored([0.9], oracle=float("nan"))})
    assert row["oracle_is_best"]


def test_without_scores_there_are_no_rows():
    assert not list(best_rows({}))
    assert not list(best_rows({"wrong": scored([float("nan")])}))
