"""How well a linear read-out of the states finds the evidence (R²), by steps since the evidence.

Line: the mean over seeds on held-out sequences. Band: smallest to largest seed. Dashed: the control
task, for which the inputs are shuffled between sequences. Where a line falls to the dashed line of
its control task, the state no longer holds the evidence in a form that a linear read-out can find.
"""

import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure
from lookback.report.numbers import shown
from lookback.summarise.quantities.base import STEPS
from lookback.summarise.quantities.decoding_distance import decoding_distance


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, distance, skill, control."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    for model in models(frame):
        rows, colour = frame[frame["model"] == model].groupby("distance"), colours(frame)[model]
        mean, low, high = rows["skill"].mean(), rows["skill"].min(), rows["skill"].max()
        axes.plot(mean.index, mean, ".-", color=colour, label=model)
        axes.fill_between(mean.index, low, high, color=colour, alpha=0.15, lw=0)
        axes.plot(mean.index, rows["control"].mean(), "--", color=colour, lw=1)
    axes.set_xscale("symlog", linthresh=1, base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlim=(-0.1, None), ylim=(-0.15, 1.05))
    axes.set(title=frame.iloc[0]["task"], xlabel="steps after the evidence", ylabel="skill, R²")
    legend_below(figure, axes)
    return figure


def finding(frame: pd.DataFrame) -> str:
    """State the decoding distance of each model."""
    parts = []
    for model in models(frame):
        distance = decoding_distance(frame[frame["model"] == model])
        parts.append(f"{model} {shown(distance.value, STEPS, is_censored=distance.censored)}")
    return (
        "A linear read-out of the states still finds half of what it finds at the evidence, above "
        f"its control task, after this number of steps: {', '.join(parts)}."
    )
