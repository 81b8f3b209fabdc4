"""Learning curves show the metric on the validation split against the number of optimiser steps.

If the validation split was evaluated fewer than two times, the figure shows the training loss
instead. Line: mean over seeds. Band: smallest to largest seed. Dashed: the trivial baseline.
"""

import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import colours, few_labels, legend_below, models, new_figure


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, step, split, metric, value, baseline; of one task."""
    first = frame.iloc[0]
    figure = new_figure(3.2)
    axes = figure.subplots()
    for model in models(frame):
        seeds = frame[frame["model"] == model].groupby("step")["value"]
        mean, low, high = seeds.mean(), seeds.min(), seeds.max()
        axes.plot(mean.index, mean, color=colours(frame)[model], label=model)
        axes.fill_between(mean.index, low, high, color=colours(frame)[model], alpha=0.15, lw=0)
    if first["metric"] != "loss":
        axes.axhline(first["baseline"], color="#555555", ls="--", lw=1, label="trivial baseline")
    if first["metric"] != "accuracy":
        axes.set_yscale("log")
        few_labels(axes.yaxis)
    axes.set(title=first["task"], xlabel="step", ylabel=f"{first['split']} {first['metric']}")
    legend_below(figure, axes)
    return figure
