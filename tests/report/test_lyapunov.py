import math

import pandas as pd
import pytest

from lookback.report.figures import lyapunov

MODELS = ["rnn", "lstm", "gru", "lru", "transformer"]


def exponents(model: str, values: list[float], stage: str = "trained") -> pd.DataFrame:
    frame = pd.DataFrame({"index": range(len(values)), "exponent": values})
    frame = frame.assign(stage=stage, seed=0, task="adding", kaplan_yorke=0.0)
    return frame.assign(model=pd.Categorical([model] * len(values), categories=MODELS))


def refused(model: str) -> pd.DataFrame:
    reason = pd.DataFrame({"reason": ["it carries no state"], "task": "adding", "seed": 0})
    return reason.assign(model=pd.Categorical([model], categories=MODELS))


def joined(*frames: pd.DataFrame) -> pd.DataFrame:
    whole = pd.concat(frames, ignore_index=True)
    return whole.assign(model=pd.Categorical(whole["model"], categories=MODELS))


def test_the_finding_says_how_long_a_change_lasts():
    frame = joined(
        exponents("rnn", [math.log(0.5), -1.0]),
        exponents("rnn", [-9.0, -10.0], stage="initial"),
        exponents("gru", [math.log(2) / 4]),
        exponents("lru", [0.0]),
        exponents("lstm", [-math.inf]),
        refused("transformer"),
    )
    assert lyapunov.finding(frame) == (
        "By the first Lyapunov exponent, a small change of the state vanishes at once in lstm; "
        "halves within 1 steps in rnn; halves within more than 10,000 steps in lru; doubles within "
        "4 steps in gru."
    )


def test_where_no_model_has_a_state_the_finding_says_so():
    frame = refused("transformer").assign(stage=None, index=math.nan, exponent=math.nan)
    assert lyapunov.finding(frame).startswith("No model")
    assert lyapunov.draw(frame).axes


def test_a_line_is_the_mean_over_seeds_by_rank_and_leaves_out_what_has_no_number():
    seeds = [exponents("gru", [0.0, -1.0, -math.inf]), exponents("gru", [-0.2, -1.0, -math.inf])]
    frame = joined(seeds[0], seeds[1].assign(seed=1), refused("transformer"))
    axes = lyapunov.draw(frame).axes[1]
    (line,) = [line for line in axes.lines if line.get_label() == "gru"]
    assert line.get_xdata() == pytest.approx([1 / 6, 3 / 6])
    assert line.get_ydata() == pytest.approx([-0.1, -1.0])
