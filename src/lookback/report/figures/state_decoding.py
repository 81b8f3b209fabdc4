"""How much of the evidence a linear read-out of the states finds, by the steps since: R².

Line: the mean over seeds, on held-out sequences; band: smallest to largest seed. Dashed: the
control, the same read-out asked for inputs shuffled between sequences. Where a line falls to its
control, the information is gone, or no longer lies there as a line can find it.
"""

import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, distance, skill, control."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    for model in models(frame):
        own, colour = frame[frame["model"] == model].groupby("distance"), colours(frame)[model]
        mean, low, high = own["skill"].mean(), own["skill"].min(), own["skill"].max()
        axes.plot(mean.index, mean, ".-", color=colour, label=model)
        axes.fill_between(mean.index, low, high, color=colour, alpha=0.15, lw=0)
        axes.plot(mean.index, own["control"].mean(), "--", color=colour, lw=1)
    axes.set_xscale("symlog", linthresh=1, base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlim=(-0.1, None), ylim=(-0.15, 1.05))
    axes.set(title=frame.iloc[0]["task"], xlabel="steps after the evidence", ylabel="skill, R²")
    legend_below(figure, axes)
    return figure


def finding(frame: pd.DataFrame) -> str:
    """Up to which distance half of what was found at first is found, above the control."""
    selectivity = (frame["skill"] - frame["control"]).rename("selectivity")
    mean = frame.assign(selectivity=selectivity).groupby(["model", "distance"], observed=True)
    by_distance = mean["selectivity"].mean().unstack("distance")
    said = [f"{model} {_reach(row.dropna())}" for model, row in by_distance.iterrows()]
    return (
        "A linear read-out of the states finds at least half of what it found at the evidence, "
        f"above its control, up to so many steps later: {', '.join(said)}."
    )


def _reach(selectivity: "pd.Series[float]") -> str:
    """The last distance before the first at which less than half is left."""
    lost = selectivity.index[selectivity < selectivity.iloc[0] / 2]
    if selectivity.iloc[0] <= 0:
        return "none from the start"
    if lost.empty:
        return f"{selectivity.index[-1]} and more"
    return f"{selectivity.index[selectivity.index < lost[0]][-1]}"
