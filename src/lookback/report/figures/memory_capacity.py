"""What the state still holds of a random input, by how many steps ago it came: R² of a read-out.

Above: linear capacity by delay, mean over seeds; dotted before training; pale the raw R², from
which the bias of finite data is taken. Below: the sum over delays after training, by degree of the
Legendre polynomial, a shade each. The tick is the size of the state, which no sum exceeds.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure

LINEAR = 1
LEFT = 0.01  # capacity at a delay below which a line has ended
SHADES = (1.0, 0.55, 0.3)  # of the degrees; those beyond are as pale as the last


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
        own, colour = frame[frame["model"] == model], colours(frame)[model]
        after, before = (
            own[own["stage"] == stage].groupby("delay")[["raw", "capacity"]].mean()
            for stage in ("trained", "initial")
        )
        axes.plot(after.index, after["capacity"], color=colour, label=model)
        axes.plot(before.index, before["capacity"], ":", color=colour, lw=1)
        axes.plot(after.index, after["raw"], color=colour, lw=0.8, alpha=0.35)
    by_delay = frame.groupby(["model", "stage", "delay"], observed=True)["capacity"].mean()
    left = by_delay[by_delay > LEFT].index.get_level_values("delay")
    axes.set(xlim=(-0.5, 1.02 * max(left.max(), 10) if len(left) else 10), ylim=(-0.03, 1.03))


def _totals(axes: Axes, frame: pd.DataFrame) -> None:
    names, sums = models(frame), totals(frame)
    for place, model in enumerate(names):
        start = 0.0
        for number, total in enumerate(sums.loc[model].clip(lower=0)):
            shade = SHADES[min(number, len(SHADES) - 1)]
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
    """The sum over delays of one stage's capacities, mean over seeds: models by degrees."""
    keys = ["model", "degree", "seed"]
    sums = frame.groupby(keys, observed=True)["capacity"].sum()
    mean = sums.groupby(level=["model", "degree"], observed=True).mean()
    return mean.unstack("degree")


def finding(frame: pd.DataFrame) -> str:
    """The linear capacity of each model after training, and before."""
    linear = frame[frame["degree"] == LINEAR]
    after, before = (
        totals(linear[linear["stage"] == stage])[LINEAR] for stage in ("trained", "initial")
    )
    bound = linear.groupby("model", observed=True)["bound"].first()
    rows = pd.DataFrame({"after": after, "before": before, "bound": bound})
    said = [
        f"{row.Index} {row.after:.1f} of at most {row.bound:.0f} ({row.before:.1f} before training)"
        for row in rows.sort_values("after", ascending=False).itertuples()
    ]
    return f"Linear memory capacity, in steps of a random input: {', '.join(said)}."
