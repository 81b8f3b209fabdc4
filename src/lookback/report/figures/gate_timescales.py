"""The time constants of the units after training, and how often the gates of the units saturate.

Upper panel: the share of units whose time constant is at most the value on the x axis, over all
layers and seeds. The time constant is -1/⟨ln f⟩, where f is the gate that keeps the state, or the
eigenvalue of a linear recurrent unit. Dotted: the longest time constant that the initialisation
aimed at. Lower panel: the share of steps at which a gate is shut (below 0.1) and open (above 0.9),
with one dot per unit [karpathy2015].
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure
from lookback.report.numbers import steps
from lookback.summarise.quantities.time_constant import SLOW, timescale

SHORTEST, LONGEST = 0.1, 1e5  # ends of the axis in steps


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, gate, timescale, left_saturated, right_saturated."""
    kept = keeping(frame)
    figure = new_figure(5.2)
    above, below = figure.subplots(2)
    for model in models(kept):
        rows, colour = kept[kept["model"] == model], colours(frame)[model]
        _distribution(above, rows, colour, model)
        below.plot(rows["left_saturated"], rows["right_saturated"], ".", color=colour, ms=3)
    above.set(xscale="log", xlabel="time constant (steps)", ylabel="share of units", ylim=(0, 1.02))
    above.set_title(f"{frame.iloc[0]['task']}, after training")
    below.set(xlabel="share of steps shut", ylabel="share of steps open")
    below.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    if len(kept):
        legend_below(figure, above)
    return figure


def _distribution(axes: Axes, frame: pd.DataFrame, colour: str, model: str) -> None:
    """Draw the cumulative share of units by time constant.

    Time constants beyond the axis are drawn at the ends of the axis.
    """
    sizes = np.sort(frame["timescale"].clip(SHORTEST, LONGEST))
    axes.step(sizes, np.arange(1, len(sizes) + 1) / len(sizes), color=colour, label=model)
    if frame["aimed"].notna().any():
        axes.axvline(frame["aimed"].max(), color=colour, ls=":", lw=1)


def keeping(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the gates that keep a state, which are the rows with a time constant."""
    return frame[frame["timescale"].notna()]


def finding(frame: pd.DataFrame) -> str:
    """State the median and the 90th percentile of the time constants of each model's units."""
    kept = keeping(frame)
    if kept.empty:
        return "No model here has gates or eigenvalues that keep a state."
    pairs = {}
    for model in models(kept):
        rows = kept[kept["model"] == model]
        pairs[model] = timescale(rows, quantile=0.5).value, timescale(rows).value
    parts = [
        f"{model} {steps(median)} and {steps(slow)}"
        for model, (median, slow) in sorted(pairs.items(), key=lambda pair: pair[1])
    ]
    percentile = f"{100 * SLOW:.0f}th percentile"
    return (
        f"Time constants in steps, the median and the {percentile} over units: {', '.join(parts)}."
    )
