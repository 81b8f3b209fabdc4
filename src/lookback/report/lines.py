"""Draw the skill against a number of steps on a logarithmic axis, with one line per model."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from lookback.report.drawing import colours, models

LOWEST = -0.5  # the axis does not extend to skills much lower than this


def skill_lines(axes: Axes, frame: pd.DataFrame, by: str) -> None:
    """Draw the mean and range of `skill` over seeds against column `by`, on a logarithmic axis."""
    for model in models(frame):
        colour, rows = colours(frame)[model], frame[frame["model"] == model]
        spread = rows.groupby(by)["skill"].agg(["mean", "min", "max"]).dropna()
        axes.plot(spread.index, spread["mean"], "o-", ms=2.5, color=colour, label=model)
        axes.fill_between(
            spread.index, spread["min"], spread["max"], color=colour, alpha=0.15, lw=0
        )
    axes.axhline(0, color="black", lw=0.8)
    logarithmic(axes, frame[by])
    axes.set_ylim(max(LOWEST, min(0.0, frame["skill"].min())) - 0.05, 1.05)
    axes.set_ylabel("skill")


def logarithmic(axes: Axes, steps: pd.Series) -> None:
    """Make the x axis logarithmic, with tick labels such as 1,000 instead of powers of ten.

    An axis that spans less than a decade has labels at its minor ticks, too.
    """
    plain = StrMethodFormatter("{x:,g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(plain)
    is_short = steps.max() < 10 * max(1, steps.min())
    axes.xaxis.set_minor_formatter(plain if is_short else NullFormatter())
