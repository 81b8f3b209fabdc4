"""Memory capacity: how well a linear read-out of the state recovers a past random input (R²).

Upper panel: the linear capacity by delay, averaged over seeds. Dotted: before training. Pale: the
raw R², before the bias of finite data is subtracted. Middle panel: the sum of the capacities over
all delays after training, with one shade per degree of the Legendre polynomial. A vertical tick
marks the size of the state, which is an upper bound of the summed capacity. Lowest panel: the
linear capacity after training by the scale of the random input, in multiples of the scale of the
task's own inputs (dashed), at which all other capacities are measured.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure
from lookback.report.numbers import number
from lookback.summarise.quantities.linear_capacity import LINEAR, OWN_SCALE, linear_capacity

VISIBLE = 0.01  # the axis ends at the last delay with a capacity above this value
SHADES = (1.0, 0.55, 0.3)  # opacity of the first, the second and all higher degrees


def draw(frame: pd.DataFrame) -> Figure:
    """Columns: task, model, seed, stage, degree, scale, delay, raw, capacity, bound."""
    names = models(frame)
    figure = new_figure(5.6 + 0.22 * len(names))
    above, below, lowest = figure.subplots(3, height_ratios=[2.6, 0.4 + 0.22 * len(names), 2.0])
    own = frame[frame["scale"] == OWN_SCALE]
    _by_delay(above, own[own["degree"] == LINEAR])
    above.set(title=frame.iloc[0]["task"], xlabel="delay, steps", ylabel="linear capacity")
    _totals(below, own[own["stage"] == "trained"])
    _by_scale(lowest, frame[(frame["stage"] == "trained") & (frame["degree"] == LINEAR)])
    lowest.set(xlabel="scale of the input (1: the task's own)", ylabel="linear capacity")
    below.set(xlabel="sum over delays, by degree")
    legend_below(figure, above)
    return figure


def _by_delay(axes: Axes, frame: pd.DataFrame) -> None:
    for model in models(frame):
        rows, colour = frame[frame["model"] == model], colours(frame)[model]
        after, before = (
            rows[rows["stage"] == stage].groupby("delay")[["raw", "capacity"]].mean()
            for stage in ("trained", "initial")
        )
        axes.plot(after.index, after["capacity"], color=colour, label=model)
        axes.plot(before.index, before["capacity"], ":", color=colour, lw=1)
        axes.plot(after.index, after["raw"], color=colour, lw=0.8, alpha=0.35)
    by_delay = frame.groupby(["model", "stage", "delay"], observed=True)["capacity"].mean()
    visible = by_delay[by_delay > VISIBLE].index.get_level_values("delay")
    axes.set(xlim=(-0.5, 1.02 * max(visible.max(), 10) if len(visible) else 10), ylim=(-0.03, 1.03))


def _by_scale(axes: Axes, frame: pd.DataFrame) -> None:
    sums = frame.groupby(["model", "scale", "seed"], observed=True)["capacity"].sum()
    means = sums.groupby(level=["model", "scale"], observed=True).mean()
    for model in models(frame):
        axes.plot(means[model].index, means[model], ".-", color=colours(frame)[model])
    axes.set_xscale("log")
    axes.axvline(OWN_SCALE, color="#555555", ls="--", lw=1)


def _totals(axes: Axes, frame: pd.DataFrame) -> None:
    names, sums = models(frame), totals(frame)
    for place, model in enumerate(names):
        start = 0.0
        for degree, total in enumerate(sums.loc[model]):
            shade = SHADES[min(degree, len(SHADES) - 1)]
            axes.barh(
                place, total, left=start, height=0.6, color=colours(frame)[model], alpha=shade
            )
            start += total
        bound = frame.loc[frame["model"] == model, "bound"].iloc[0]
        axes.plot(bound, place, "|", color="#333333", ms=9, mew=1.5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def totals(frame: pd.DataFrame) -> pd.DataFrame:
    """The capacity summed over delays and averaged over seeds, for each model and degree.

    `frame` holds one stage, before or after training.
    """
    keys = ["model", "degree", "seed"]
    sums = frame.groupby(keys, observed=True)["capacity"].sum()
    mean = sums.groupby(level=["model", "degree"], observed=True).mean()
    return mean.unstack("degree")


def finding(frame: pd.DataFrame) -> str:
    """State the linear capacity of each model after training and before training."""
    parts = []
    for model in models(frame):
        rows = frame[frame["model"] == model]
        after = linear_capacity(rows).value
        before = linear_capacity(rows, stage="initial").value
        text = f"{model} {number(after)} of at most {rows['bound'].iloc[0]:.0f}"
        parts.append((-after, f"{text} ({number(before)} before training)"))
    listed = ", ".join(text for _, text in sorted(parts))
    return (
        "Linear memory capacity at the scale of the task's own inputs, in recovered inputs: "
        f"{listed}."
    )
