"""Recall by how long ago the evidence was: 0 is the trivial baseline, 1 perfect, half is dashed.

Line: the mean skill of all answers in a bin of lags, over test sequences and seeds. Band: its 95 %
interval, seeds drawn anew and sequences within them. The memory horizon is where a line first falls
to one half.
"""

import math

import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure
from lookback.report.lines import logarithmic
from lookback.summarise.horizon import HALF, Horizon, horizon, skill_by_lag

LOWEST = -0.25  # below it a line says no more than «worse than the baseline»


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
    axes.axhline(HALF, color="black", lw=0.8, ls="--")
    axes.axhline(0, color="black", lw=0.8)
    logarithmic(axes, frame["lag"])
    axes.set_ylim(max(lowest, LOWEST) - 0.05, 1.05)
    axes.set(title=frame.iloc[0]["task"], xlabel="lag: steps from evidence to answer")
    axes.set_ylabel("skill")
    legend_below(figure, axes)
    return figure


def finding(frame: pd.DataFrame) -> str:
    """The memory horizon of each model, the longest first."""
    found = {model: horizon(frame[frame["model"] == model]) for model in models(frame)}
    shortest, longest = frame["lag"].min(), frame["lag"].max()
    said = [
        f"{model} {_said(each, shortest, longest)}"
        for model, each in sorted(found.items(), key=lambda pair: -pair[1].value)
    ]
    return (
        "Memory horizon, the lag in steps at which skill first falls to one half "
        f"(95 % interval): {', '.join(said)}."
    )


def _said(found: Horizon, shortest: float, longest: float) -> str:
    def end(lag: float) -> str:
        bound = "under " if lag == 0 else "≥ " if lag >= longest else ""
        return f"{bound}{max(lag, shortest):.3g}"

    value, low, high = map(end, found[:3])
    certain = math.isnan(found.low) or low == high
    return value if certain else f"{value} ({low} to {high})"
