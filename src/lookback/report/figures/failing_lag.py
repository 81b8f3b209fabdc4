"""Large panel: the horizon predicted from the other tasks against the measured horizon, in steps.

Dashed: the predicted and the measured horizon are equal. Grey band: the error of the prediction is
small enough to pass the test of theory. An open point has a censored horizon, which is beyond the
longest lag measured or below the shortest.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import new_figure
from lookback.report.figures.memory_card import legend, logarithmic, points
from lookback.summarise.theory import BAR_ERROR


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: those of the table `failing_lag`; at least one cell is predicted."""
    shown = frame[frame["predicted"].notna()]
    bounds = shown["horizon_censored"] | shown["horizon_below"]
    shown = shown.assign(horizon_censored=bounds)
    figure = new_figure(4.6)
    axes = figure.subplots()
    largest = max(shown["horizon"].max(), shown["predicted"].max(), 2.0)
    line = np.concatenate([[0.0], np.geomspace(0.1, 1.3 * largest, 200)])
    axes.fill_between(line, (1 - BAR_ERROR) * line, (1 + BAR_ERROR) * line, color="#DDDDDD", lw=0)
    axes.plot(line, line, "--", color="#555555", lw=1)
    points(axes, shown.assign(x=shown["horizon"], y=shown["predicted"]))
    logarithmic(axes)
    axes.set(xlabel="measured horizon", ylabel="predicted horizon", title="Tasks left out")
    legend(figure, shown)
    return figure
