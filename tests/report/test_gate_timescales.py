import math

import pandas as pd
import pytest

from lookback.report.figures import gate_timescales

MODELS = ["rnn", "lstm", "lru"]


def units(model: str, gate: str, values: list[float], aimed: float = math.nan) -> pd.DataFrame:
    frame = pd.DataFrame({"timescale": values, "unit": range(len(values))})
    frame = frame.assign(gate=gate, layer=0, seed=0, task="adding", model=model, aimed=aimed)
    return frame.assign(left_saturated=0.25, right_saturated=0.5)


def joined(*frames: pd.DataFrame) -> pd.DataFrame:
    whole = pd.concat(frames, ignore_index=True)
    return whole.assign(model=pd.Categorical(whole["model"], categories=MODELS))


def test_the_finding_is_of_the_gates_that_keep_a_state():
    frame = joined(
        units("lstm", "forget", [1.0, 2.0, 3.0, 4.0, 500.0]),
        units("lstm", "output", [math.nan] * 5),
        units("lru", "eigenvalue", [0.5, 0.5, math.inf]),
        units("rnn", "", [math.nan]),
    )
    assert gate_timescales.finding(frame) == (
        "Time constants in steps, the median and the 90th percentile over units: "
        "lru 0.5 and 0.5, lstm 3 and 4."
    )


def test_where_nothing_keeps_a_state_the_finding_says_so():
    frame = joined(units("rnn", "", [math.nan]))
    assert gate_timescales.finding(frame).startswith("No model")
    assert gate_timescales.draw(frame).axes


def test_the_curve_rises_by_a_units_share_at_its_timescale_and_ends_are_held_at_the_axis():
    frame = joined(units("lru", "eigenvalue", [math.inf, 8.0, 0.0, 2.0], aimed=30.0))
    above = gate_timescales.draw(frame).axes[0]
    curve, aimed = above.lines
    assert curve.get_xdata().tolist() == [0.1, 2.0, 8.0, 1e5]
    assert curve.get_ydata().tolist() == [0.25, 0.5, 0.75, 1.0]
    assert aimed.get_xdata() == pytest.approx([30.0, 30.0])
