"""Memory capacity: how well a linear read-out of the state recovers a past random input (R²).

Upper panel: the linear capacity by delay, averaged over seeds. Dotted: before training. Pale: the
raw R², before the bias of finite data is subtracted. Lower panel: the sum of the capacities over
all delays after training, with one shade per degree of the Legendre polynomial. A vertical tick
marks the size of the state, which is an upper bound of the summed capacity.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure
from lookback.report.numbers import number
from lookback.summarise.quantities.linear_capacity import LINEAR, linear_capacity

VISIBLE = 0.01  # the axis ends at the last delay with a capacity above this value
SHADES = (1.0, 0.55, 0.3)  # opacity of the first, the second and all higher degrees


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, stage, degree, delay, raw, capacity, bound."""
    names = models(frame)
    figure = new_figure(3.6 + 0.22 * len(names))
    above, below = figure.subplots(2, height_ratios=[2.6, 0.4 + 0.22 * len(names)])
    _by_delay(above, frame[frame["degree"] == LINEAR])
    above.set(title=frame.iloc[0]["task"], xlabel="delay, steps", ylabel="linear capacity")
    _totals(below, frame[frame["stage"] == "trained"])
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


def _totals(axes: Axes, frame: pd.DataFrame) -> None:
    names, sums = models(frame), totals(frame)
    for place, model in enumerate(names):
        start = 0.0
        for degree, total in enumerate(sums.loc[model].clip(lower=0)):
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
    return f"Linear memory capacity, in recovered inputs: {listed}."
