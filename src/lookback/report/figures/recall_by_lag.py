"""Recall by lag: the skill of the answers by the number of steps since the evidence."""

import math

import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure
from lookback.report.lines import logarithmic
from lookback.report.numbers import steps
from lookback.summarise.quantities.base import Estimate
from lookback.summarise.quantities.memory_horizon import (
    DEFINITION,
    THRESHOLD,
    memory_horizon,
    skill_by_lag,
)

LOWEST = -0.25  # the axis does not extend to skills much lower than this
CAPTION = (
    f"Recall by lag: the skill of the answers by the number of steps since the evidence; 0 is the "
    f"trivial baseline, 1 is perfect. Line: the mean over all answers in a bin of lags, over test "
    f"sequences and seeds. Band: its 95 % interval (hierarchical bootstrap). Dashed: "
    f"{THRESHOLD:g}. The memory horizon is {DEFINITION}."
)


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, sequence, lag, skill."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    lowest = 0.0
    for model in models(frame):
        curve, colour = skill_by_lag(frame[frame["model"] == model]), colours(frame)[model]
        low, high = curve.band()
        mark = "o" if len(curve.lag) == 1 else None
        axes.plot(curve.lag, curve.skill, color=colour, label=model, marker=mark)
        axes.fill_between(curve.lag, low, high, color=colour, alpha=0.15, lw=0)
        lowest = min(lowest, curve.skill.min())
    axes.axhline(THRESHOLD, color="black", lw=0.8, ls="--")
    axes.axhline(0, color="black", lw=0.8)
    logarithmic(axes, frame["lag"])
    axes.set_ylim(max(lowest, LOWEST) - 0.05, 1.05)
    axes.set(title=frame.iloc[0]["task"], xlabel="lag: steps from evidence to answer")
    axes.set_ylabel("skill")
    legend_below(figure, axes)
    return figure


def finding(frame: pd.DataFrame) -> str:
    """State the memory horizon of each model, with the longest horizon first."""
    horizons = {model: memory_horizon(frame[frame["model"] == model]) for model in models(frame)}
    shortest, longest = frame["lag"].min(), frame["lag"].max()
    parts = [
        f"{model} {_text(horizon, shortest, longest)}"
        for model, horizon in sorted(horizons.items(), key=lambda pair: -pair[1].value)
    ]
    return (
        f"Memory horizon in steps, the lag at which the skill first falls to {THRESHOLD:g} "
        f"(95 % interval): {', '.join(parts)}."
    )


def _text(horizon: Estimate, shortest: float, longest: float) -> str:
    def bound(lag: float) -> str:
        sign = "under " if lag == 0 else "≥ " if lag >= longest else ""
        return f"{sign}{steps(max(lag, shortest))}"

    value, low, high = map(bound, horizon[:3])
    return value if math.isnan(horizon.low) or low == high else f"{value} ({low} to {high})"
