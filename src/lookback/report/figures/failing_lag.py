"""Large panel: the failing lag that the other tasks' cells predict against the one found, in steps.

Dashed: the two are equal; grey band: within 20 % of what was found. An open point above the dashed
line is predicted right: it lies past the longest lag tried, as found.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import new_figure
from lookback.report.figures.memory_card import legend, logarithmic, points

WITHIN = 0.2


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, horizon, predicted, censored; some prediction is there."""
    shown = frame[frame["predicted"].notna()].rename(columns={"censored": "horizon_censored"})
    figure = new_figure(4.6)
    axes = figure.subplots()
    largest = max(shown["horizon"].max(), shown["predicted"].max(), 2.0)
    line = np.concatenate([[0.0], np.geomspace(0.1, 1.3 * largest, 200)])
    axes.fill_between(line, (1 - WITHIN) * line, (1 + WITHIN) * line, color="#DDDDDD", lw=0)
    axes.plot(line, line, "--", color="#555555", lw=1)
    points(axes, shown.assign(x=shown["horizon"], y=shown["predicted"]))
    logarithmic(axes)
    axes.set(xlabel="horizon found", ylabel="horizon predicted", title="Tasks left out")
    legend(figure, shown)
    return figure
