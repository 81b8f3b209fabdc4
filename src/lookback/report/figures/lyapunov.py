"""How fast a small change of the state grows or fades, direction by direction.

Lyapunov exponents, the largest first, against their rank as a share of the state's size: mean over
seeds; band: smallest to largest seed. At zero (dashed) a change is kept; below it fades at that
many nats a step, above it grows. Exponents below the axis are not shown.
"""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure

STAGES = {"initial": "before training", "trained": "after training"}
LOWEST = -2.0  # nats a step: a change gone within a step or two is gone
LONGEST = 10_000  # steps that the finding tells apart


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, stage, index, exponent."""
    measured = frame[frame["exponent"].notna()]
    figure = new_figure(4.6)
    panels = figure.subplots(len(STAGES), sharex=True, sharey=True)
    for axes, (stage, title) in zip(panels, STAGES.items(), strict=True):
        _lines(axes, measured[measured["stage"] == stage])
        axes.axhline(0, color="#555555", ls="--", lw=1)
        axes.set(title=f"{frame.iloc[0]['task']}, {title}", ylabel="exponent (nats/step)")
    highest = max(0.0, measured["exponent"].max()) if len(measured) else 0.0
    panels[0].set_ylim(LOWEST, highest + 0.1)
    panels[-1].set_xlabel("rank of the exponent, as a share of all")
    if len(measured):
        legend_below(figure, panels[-1])
    return figure


def _lines(axes: Axes, frame: pd.DataFrame) -> None:
    for model in models(frame):
        own, colour = frame[frame["model"] == model], colours(frame)[model]
        seeds = own[own["exponent"] > -math.inf].groupby("index")["exponent"]
        mean, low, high = seeds.mean(), seeds.min(), seeds.max()
        rank = (mean.index + 0.5) / (own["index"].max() + 1)
        axes.plot(rank, mean, color=colour, label=model)
        axes.fill_between(rank, low, high, color=colour, alpha=0.15, lw=0)


def finding(frame: pd.DataFrame) -> str:
    """What the first exponent of each model after training means."""
    trained = frame[(frame["stage"] == "trained") & (frame["index"] == 0)]
    first = trained.dropna(subset="exponent").groupby("model", observed=True)["exponent"].mean()
    if first.empty:
        return "No model here has a state that is carried from step to step."
    said = ", ".join(f"{model} {_halving(value)}" for model, value in first.sort_values().items())
    return f"After training, a small change of the state halves in so many steps: {said}."


def _halving(exponent: float) -> str:
    """The steps in which the slowest direction halves, or doubles where it grows."""
    if exponent == -math.inf:
        return "0"
    if abs(exponent) < math.log(2) / LONGEST:
        return f"over {LONGEST:,}"
    steps = f"{math.log(2) / abs(exponent):.3g}"
    return steps if exponent < 0 else f"doubles in {steps}"
