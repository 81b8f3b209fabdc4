"""A line a model: the mean over seeds, in a band of the range over seeds."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from lookback.report.drawing import colours, models

LOWEST = -0.5  # of skill: below it a line says no more than «worse than the baseline»


def skill_lines(axes: Axes, frame: pd.DataFrame, by: str) -> None:
    """Draw `skill` by the column `by`, whose axis is logarithmic; 0, the baseline, as a line."""
    for model in models(frame):
        colour, own = colours(frame)[model], frame[frame["model"] == model]
        spread = own.groupby(by)["skill"].agg(["mean", "min", "max"]).dropna()
        axes.plot(spread.index, spread["mean"], "o-", ms=2.5, color=colour, label=model)
        axes.fill_between(
            spread.index, spread["min"], spread["max"], color=colour, alpha=0.15, lw=0
        )
    axes.axhline(0, color="black", lw=0.8)
    logarithmic(axes, frame[by])
    axes.set_ylim(max(LOWEST, min(0.0, frame["skill"].min())) - 0.05, 1.05)
    axes.set_ylabel("skill")


def logarithmic(axes: Axes, steps: pd.Series) -> None:
    """A logarithmic axis of steps, in plain numbers also where it is shorter than a decade."""
    plain = StrMethodFormatter("{x:,g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(plain)
    short = steps.max() < 10 * max(1, steps.min())
    axes.xaxis.set_minor_formatter(plain if short else NullFormatter())
