"""Small panels: how far each cell remembers, in steps, against what the theory says of it.

One point a cell. Open: its horizon lies past the longest lag tried. At the right edge: a time
without end.
"""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lookback.report.drawing import WIDE, colours, models, new_figure

FIGURES = {
    "half_distance_trained": "gradient halves after, trained",
    "half_distance_initial": "gradient halves after, untrained",
    "lyapunov": "first Lyapunov exponent, nats a step",
    "capacity": "linear memory capacity",
    "timescale": "time constant of the gates",
    "decoding": "evidence is decoded up to",
}
MARKERS = "osD^vPX*"
COLUMNS = 2


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: those of the memory card; a panel for each figure that a cell has."""
    frame = frame[frame["horizon"].notna()]
    shown = [name for name in FIGURES if frame[name].notna().any()]
    rows = math.ceil(len(shown) / COLUMNS)
    figure = new_figure(0.8 + 1.75 * rows)
    panels = figure.subplots(rows, COLUMNS, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, shown, strict=False):
        _panel(axes, frame, name)
        axes.set_xlabel(FIGURES[name], fontsize=7.5)
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel("horizon")
    legend(figure, frame)
    return figure


def _panel(axes: Axes, frame: pd.DataFrame, name: str) -> None:
    own = frame[frame[name].notna()]
    finite = own.loc[np.isfinite(own[name]), name]
    edge = max(2 * finite.max(), 10.0) if len(finite) else 10.0
    points(axes, own.assign(x=own[name].replace(math.inf, edge), y=own["horizon"]))
    logarithmic(axes, across=0.01 if name == "lyapunov" else 1.0)
    axes.tick_params(labelsize=7)


def logarithmic(axes: Axes, across: float = 1.0) -> None:
    """Both axes logarithmic, linear around zero: across up to `across`, upwards up to one step."""
    axes.set_xscale("symlog", linthresh=across)
    axes.set_yscale("symlog", linthresh=1.0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")


def points(axes: Axes, frame: pd.DataFrame) -> None:
    """One point a row at columns x, y, by model and task; open where `horizon_censored`."""
    colour, marker = colours(frame), markers(frame)
    for row in frame.to_dict("records"):
        own, shape = colour[row["model"]], marker[row["task"]]
        fill = "none" if row["horizon_censored"] else own
        axes.plot(row["x"], row["y"], shape, mec=own, mfc=fill, ms=5.5, alpha=0.85)


def markers(frame: pd.DataFrame) -> dict[str, str]:
    """The marker of each task of the study."""
    tasks = frame["task"].astype("category").cat.categories
    return {task: MARKERS[place % len(MARKERS)] for place, task in enumerate(tasks)}


def legend(figure: Figure, frame: pd.DataFrame) -> None:
    """Colours are models, markers are tasks; under the figure."""
    handles = list(_handles(frame))
    columns = 3 if max(len(str(handle.get_label())) for handle in handles) <= WIDE else 2
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8)


def _handles(frame: pd.DataFrame) -> Iterator[Line2D]:
    for model in models(frame):
        yield Line2D([], [], color=colours(frame)[model], lw=5, label=model)
    there = set(frame["task"])
    for task, marker in markers(frame).items():
        if task in there:
            yield Line2D([], [], color="#555555", marker=marker, ls="", label=task)
