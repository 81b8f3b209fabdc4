"""Recall by how long ago the evidence was: 0 is the trivial baseline, 1 perfect, half is dashed.

Line: the mean skill of all answers in a bin of lags, over test sequences and seeds. Band: its 95 %
interval, seeds drawn anew and sequences within them. The memory horizon is where a line first falls
to one half.
"""

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from lookback.report.drawing import colours, legend_below, models, new_figure
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
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    if frame["lag"].max() < 10 * max(1, frame["lag"].min()):
        axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.set_ylim(max(lowest, LOWEST) - 0.05, 1.05)
    axes.set(title=f"{frame.iloc[0]['task']}", xlabel="lag: steps from evidence to answer")
    axes.set_ylabel("skill")
    legend_below(figure, axes)
    return figure


def finding(frame: pd.DataFrame) -> str:
    """The memory horizon of each model, the longest first."""
    found = {model: horizon(frame[frame["model"] == model]) for model in models(frame)}
    said = [
        f"{model} {_said(each)}"
        for model, each in sorted(found.items(), key=lambda pair: -pair[1].value)
    ]
    return (
        "Memory horizon, the lag in steps at which skill first falls to one half "
        f"(95 % interval): {', '.join(said)}."
    )


def _said(found: Horizon) -> str:
    value = f"{'≥ ' if found.censored else ''}{found.value:.3g}"
    return value if math.isnan(found.low) else f"{value} ({found.low:.3g} to {found.high:.3g})"
