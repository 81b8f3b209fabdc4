"""Lyapunov exponents are the rates at which a small change of the whole state grows or fades.

Each direction of the state has one exponent, in nats per step. The exponents are ordered from the
largest to the smallest, and the x axis shows the rank divided by the size of the state. Line: mean
over seeds. Band: smallest to largest seed. A change grows if its exponent is above zero (dashed),
stays the same at zero, and fades below zero. Exponents below the lower end of the axis are not
shown.
"""

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure
from lookback.report.numbers import steps
from lookback.summarise.quantities.lyapunov_exponent import first_exponent

STAGES = {"initial": "before training", "trained": "after training"}
LOWEST = -2.0  # lower end of the axis in nats per step (two steps shrink a change to 2 %)
LONGEST = 10_000  # a longer half-life, in steps, is written as «more than 10,000»


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, stage, index, exponent."""
    measured = frame[frame["exponent"].notna()]
    figure = new_figure(4.6)
    panels = figure.subplots(len(STAGES), sharex=True, sharey=True)
    for axes, (stage, title) in zip(panels, STAGES.items(), strict=True):
        _lines(axes, measured[measured["stage"] == stage])
        axes.axhline(0, color="#555555", ls="--", lw=1)
        axes.set(title=f"{frame.iloc[0]['task']}, {title}", ylabel="exponent (nats per step)")
    highest = max(0.0, measured["exponent"].max()) if len(measured) else 0.0
    panels[0].set_ylim(LOWEST, highest + 0.1)
    panels[-1].set_xlabel("rank of the exponent, as a share of all")
    if len(measured):
        legend_below(figure, panels[-1])
    return figure


def _lines(axes: Axes, frame: pd.DataFrame) -> None:
    for model in models(frame):
        rows, colour = frame[frame["model"] == model], colours(frame)[model]
        seeds = rows[rows["exponent"] > -math.inf].groupby("index")["exponent"]
        mean, low, high = seeds.mean(), seeds.min(), seeds.max()
        rank = (mean.index + 0.5) / (rows["index"].max() + 1)
        axes.plot(rank, mean, color=colour, label=model)
        axes.fill_between(rank, low, high, color=colour, alpha=0.15, lw=0)


def finding(frame: pd.DataFrame) -> str:
    """Say how long a small change of the state lasts in each trained model (largest exponent)."""
    exponents = {model: first_exponent(frame[frame["model"] == model]) for model in models(frame)}
    first = {model: it.value for model, it in exponents.items() if not math.isnan(it.value)}
    if not first:
        return "No model here has a state that is carried from step to step."
    parts = [f"{_half_life(value)} in {model}" for value, model in _ascending(first)]
    return f"By the first Lyapunov exponent, a small change of the state {'; '.join(parts)}."


def _ascending(values: Mapping[str, float]) -> list[tuple[float, str]]:
    return sorted((value, model) for model, value in values.items())


def _half_life(exponent: float) -> str:
    """Say how many steps it takes until a change with this exponent halves or doubles."""
    if exponent == -math.inf:
        return "vanishes at once"
    if abs(exponent) < math.log(2) / LONGEST:
        return f"halves within more than {LONGEST:,} steps"
    count = steps(math.log(2) / abs(exponent))
    return f"{'halves' if exponent < 0 else 'doubles'} within {count} steps"
