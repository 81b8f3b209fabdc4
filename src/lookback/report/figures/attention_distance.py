"""The mean number of steps that each attention head looks back, weighted by its attention.

Each point is one head of one seed. Each bar is the mean distance over heads and seeds. Each row
shows all heads of one layer, because head 1 of one seed does not correspond to head 1 of another.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import colours, models, new_figure

ROW = 0.28  # inches


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, layer, head, distance, nearest."""
    layers = [
        (
            f"{model}, layer {layer + 1}",
            colours(frame)[model],
            rows["distance"][rows["layer"] == layer],
        )
        for model in models(frame)
        for rows in [frame[frame["model"] == model]]
        for layer in range(int(rows["layer"].max()) + 1)
    ]
    figure = new_figure(1.1 + ROW * len(layers))
    axes = figure.subplots()
    for row, (_, colour, distances) in enumerate(layers):
        heights = row + np.linspace(-0.2, 0.2, len(distances) + 2)[1:-1]
        axes.plot(distances, heights, "o", ms=4, alpha=0.7, mew=0, color=colour)
        axes.plot([distances.mean()] * 2, [row - 0.32, row + 0.32], color="black", lw=1.2)
    axes.set_yticks(range(len(layers)), [label for label, *_ in layers])
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set(title=frame.iloc[0]["task"], xlabel="steps looked back (bar: the mean)")
    return figure


def finding(frame: pd.DataFrame) -> str:
    """State the smallest and the largest distance of each model's heads, averaged over seeds."""
    parts = []
    for model in models(frame):
        rows = frame[frame["model"] == model]
        low, high = rows.groupby("seed")["distance"].agg(["min", "max"]).mean()
        span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        nearest = f"{100 * rows['nearest'].mean():.0f} % of the weight is on the nearest 10 steps"
        parts.append(f"{model} {span} ({nearest})")
    return f"Steps that the nearest and the farthest head look back: {', '.join(parts)}."
