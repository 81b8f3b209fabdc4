"""The test score of each model, as the mean over seeds (bar) with its 95 % interval.

Small dots: the seeds. Dashed: the trivial baseline.
"""

import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import colours, few_labels, models, new_figure


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, value (of one seed), metric, mean, low, high, baseline."""
    first, names = frame.iloc[0], models(frame)
    figure = new_figure(0.9 + 0.3 * len(names))
    axes = figure.subplots()
    for place, model in enumerate(names):
        seeds, colour = frame[frame["model"] == model], colours(frame)[model]
        spread = seeds.iloc[0]
        axes.plot([spread["low"], spread["high"]], [place, place], color=colour, lw=5, alpha=0.35)
        axes.plot(seeds["value"], [place] * len(seeds), "o", color=colour, ms=3, alpha=0.7)
        axes.plot(spread["mean"], place, "|", color=colour, ms=13, mew=2)
    axes.axvline(first["baseline"], color="#555555", ls="--", lw=1)
    if first["metric"] != "accuracy":
        axes.set_xscale("log")
        few_labels(axes.xaxis)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set(title=first["task"], xlabel=f"test {first['metric']}")
    return figure
