"""The skill of each model by the length of the test sequences.

The first point of each line is the length used in training. Line: the mean over test sequences and
seeds. Band: the range over seeds. At each length, skill 0 is the trivial baseline and skill 1 is
perfect. A model that cannot process a length has no point at that length.
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from lookback.report.drawing import legend_below, models, new_figure
from lookback.report.lines import skill_lines


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, factor, length, skill."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    skill_lines(axes, frame, "length")
    lengths = sorted(frame["length"].unique())
    axes.xaxis.set_major_locator(FixedLocator(lengths))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{length:,}" for length in lengths]))
    axes.xaxis.set_minor_locator(NullLocator())
    title = f"{frame.iloc[0]['task']}, trained at {lengths[0]:,} steps"
    axes.set(title=title, xlabel="length of a sequence, steps")
    legend_below(figure, axes)
    return figure


def finding(frame: pd.DataFrame) -> str:
    """State the skill of each model at the longest length and at the length used in training."""
    longest = frame["factor"].max()
    parts = []
    for model in models(frame):
        mean = frame[frame["model"] == model].groupby("factor")["skill"].mean().dropna()
        if len(mean):
            at_longest = f"{mean[longest]:.2f}" if longest in mean else "not possible"
            parts.append(f"{model} {at_longest} (at the trained length {mean.iloc[0]:.2f})")
    return f"Skill at {longest} times the trained length: {', '.join(parts)}."
