"""Small panels: the memory horizon against each quantity that should predict it.

Each point is one model on one task. An open point has a censored horizon, which is beyond the
longest lag measured or below the shortest. A point at the right edge of a panel has an infinite
value.
"""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lookback.report.drawing import WIDE, colours, models, new_figure
from lookback.summarise.quantities.base import RATE, Quantity
from lookback.summarise.quantities.registry import BY_NAME
from lookback.summarise.theory import RANKED

MARKERS = "osD^vPX*"
COLUMNS = 2


def draw(frame: pd.DataFrame) -> Figure:
    """Draw one panel for each quantity in RANKED that was measured for at least one model.

    The columns of `frame` are those of the memory card.
    """
    frame = frame[frame["horizon"].notna()]
    bounds = frame["horizon_censored"] | frame["horizon_below"]
    frame = frame.assign(horizon_censored=bounds)
    measured = [name for name in RANKED if frame[name].notna().any()]
    rows = math.ceil(len(measured) / COLUMNS)
    figure = new_figure(0.8 + 1.75 * rows)
    panels = figure.subplots(rows, COLUMNS, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, measured, strict=False):
        _panel(axes, frame, BY_NAME[name])
    for axes in panels.flat[len(measured) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel("horizon (steps)")
    legend(figure, frame)
    return figure


def _panel(axes: Axes, frame: pd.DataFrame, quantity: Quantity) -> None:
    rows = frame[frame[quantity.name].notna()]
    values = rows[quantity.name]
    finite = values[np.isfinite(values)]
    edge = max(2 * finite.max(), 10.0) if len(finite) else 10.0
    points(axes, rows.assign(x=values.replace(math.inf, edge), y=rows["horizon"]))
    logarithmic(axes, across=0.01 if quantity.unit == RATE else 1.0)
    axes.tick_params(labelsize=7)
    axes.set_xlabel(f"{quantity.label}\n({quantity.unit})", fontsize=7)


def logarithmic(axes: Axes, across: float = 1.0) -> None:
    """Make both axes logarithmic, except for a linear part around zero.

    The x axis is linear up to `across`, and the y axis is linear up to one step.
    """
    axes.set_xscale("symlog", linthresh=across)
    axes.set_yscale("symlog", linthresh=1.0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")


def points(axes: Axes, frame: pd.DataFrame) -> None:
    """Draw one point per row at (x, y), which is not filled if `horizon_censored` is true."""
    colour, marker = colours(frame), markers(frame)
    for row in frame.to_dict("records"):
        edge, shape = colour[row["model"]], marker[row["task"]]
        fill = "none" if row["horizon_censored"] else edge
        axes.plot(row["x"], row["y"], shape, mec=edge, mfc=fill, ms=5.5, alpha=0.85)


def markers(frame: pd.DataFrame) -> dict[str, str]:
    """Map each task of the study to the marker of its points."""
    tasks = frame["task"].astype("category").cat.categories
    return {task: MARKERS[place % len(MARKERS)] for place, task in enumerate(tasks)}


def legend(figure: Figure, frame: pd.DataFrame) -> None:
    """Draw the legend below the figure, with colours for models and markers for tasks."""
    handles = list(_handles(frame))
    columns = 3 if max(len(str(handle.get_label())) for handle in handles) <= WIDE else 2
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8)


def _handles(frame: pd.DataFrame) -> Iterator[Line2D]:
    for model in models(frame):
        yield Line2D([], [], color=colours(frame)[model], lw=5, label=model)
    drawn_tasks = set(frame["task"])
    for task, marker in markers(frame).items():
        if task in drawn_tasks:
            yield Line2D([], [], color="#555555", marker=marker, ls="", label=task)
