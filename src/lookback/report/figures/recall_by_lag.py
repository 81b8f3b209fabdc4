"""Recall by lag: the skill of the answers by the number of steps since the evidence."""

import math

import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure
from lookback.report.lines import logarithmic
from lookback.report.numbers import shown
from lookback.summarise.quantities.base import STEPS, Estimate
from lookback.summarise.quantities.memory_horizon import (
    DEFINITION,
    dead_seeds,
    memory_horizon,
    threshold_of,
)
from lookback.summarise.recall_curve import skill_by_lag

LOWEST = -0.25  # the axis does not extend to skills much lower than this
CAPTION = (
    "Recall by lag: the skill of the answers by the number of steps since the evidence; 0 is the "
    "trivial baseline, 1 is perfect. Line: the mean over all answers in a bin of lags, over test "
    "sequences and seeds. Band: its 95 % interval. Dashed: the task's threshold. The memory "
    f"horizon is {DEFINITION}. Filled point: the horizon. Open triangle: the horizon lies below "
    "the shortest lag (pointing left) or beyond the longest lag (pointing right)."
)


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, sequence, lag, skill."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    lowest, threshold = 0.0, threshold_of(frame)
    for model in models(frame):
        curve, colour = skill_by_lag(frame[frame["model"] == model]), colours(frame)[model]
        mark = "o" if len(curve.lag) == 1 else None
        axes.plot(curve.lag, curve.skill, color=colour, label=model, marker=mark)
        axes.fill_between(curve.lag, curve.low, curve.high, color=colour, alpha=0.15, lw=0)
        lowest = min(lowest, curve.skill.min())
        horizon = memory_horizon(frame[frame["model"] == model])
        sign = ">" if horizon.censored else "<" if horizon.below else "o"
        face = colour if sign == "o" else "none"
        axes.plot(max(horizon.value, 1), threshold, sign, color=colour, mfc=face, ms=5, zorder=3)
    axes.axhline(threshold, color="black", lw=0.8, ls="--")
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
    ordered = sorted(horizons.items(), key=lambda pair: (pair[1].below, -pair[1].value))
    parts = [f"{model} {_text(horizon, frame, model)}" for model, horizon in ordered]
    return (
        "Memory horizon in steps, the lag at which the skill falls to "
        f"{threshold_of(frame):g} (median over seeds, 95 % interval): {', '.join(parts)}."
    )


def _text(horizon: Estimate, frame: pd.DataFrame, model: str) -> str:
    shortest, longest = frame["lag"].min(), frame["lag"].max()
    low, high = (
        shown(lag, STEPS, is_censored=lag >= longest, is_below=lag <= shortest)
        for lag in (horizon.low, horizon.high)
    )
    text = shown(horizon.value, STEPS, is_censored=horizon.censored, is_below=horizon.below)
    notes = [] if math.isnan(horizon.low) or low == high else [f"{low} to {high}"]
    rows = frame[frame["model"] == model]
    if dead := int(dead_seeds(rows).value):
        notes.append(f"{dead} of {rows['seed'].nunique()} seeds dead")
    return f"{text} ({'; '.join(notes)})" if notes else text
