"""How many steps back each head looks, on average over its weights; a point a head and seed.

Rows: layers, the first at the top. Heads of one layer have no order across seeds, so they share a
row.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import colours, models, new_figure

ROW = 0.28  # inches


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, layer, head, distance, nearest."""
    shown = [
        (
            f"{model}, layer {layer + 1}",
            colours(frame)[model],
            own["distance"][own["layer"] == layer],
        )
        for model in models(frame)
        for own in [frame[frame["model"] == model]]
        for layer in range(int(own["layer"].max()) + 1)
    ]
    figure = new_figure(1.1 + ROW * len(shown))
    axes = figure.subplots()
    for row, (_, colour, own) in enumerate(shown):
        lifted = row + np.linspace(-0.2, 0.2, len(own) + 2)[1:-1]
        axes.plot(own, lifted, "o", ms=4, alpha=0.7, mew=0, color=colour)
        axes.plot([own.mean()] * 2, [row - 0.32, row + 0.32], color="black", lw=1.2)
    axes.set_yticks(range(len(shown)), [label for label, *_ in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set(title=frame.iloc[0]["task"], xlabel="steps looked back (bar: the mean)")
    return figure


def finding(frame: pd.DataFrame) -> str:
    """The nearest and the farthest looking head of each model, as means over seeds."""
    said = []
    for model in models(frame):
        own = frame[frame["model"] == model]
        low, high = own.groupby("seed")["distance"].agg(["min", "max"]).mean()
        span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        said.append(
            f"{model} {span} ({100 * own['nearest'].mean():.0f} % of all weight on the nearest 10)"
        )
    return f"Mean steps looked back, from the nearest head to the farthest: {', '.join(said)}."
