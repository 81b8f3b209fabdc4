"""Define the style of all figures and the colour of each model, and convert figures to SVG.

The first seven colours are from [okabe2008], and colour-blind readers can tell them apart. The
eighth colour is grey. From the ninth model on, the colours are the muted colours of [tol2021]. The
column `model` of a frame is categorical, and its categories are all models of the study. A model
therefore has the same colour in every figure.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
import matplotlib.style
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A7A7A"),
    *("#882255", "#117733", "#999933", "#332288"),
)
WIDE = 16  # a legend has three columns if no label has more letters than this
WIDTH = 4.4  # figure width in inches, at which a figure fits on the screen of a phone
STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",  # labels stay text instead of curves, so files are small and searchable
}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@contextmanager
def style() -> Iterator[None]:
    """Use the style of the report inside the `with` block, and ignore the user's matplotlibrc."""
    with matplotlib.style.context(["default", STYLE]):
        yield


def models(frame: pd.DataFrame) -> list[str]:
    """The names of the models that have rows in the frame, in the order of the study."""
    with_rows = set(frame["model"].dropna())
    return [model for model in _all_models(frame) if model in with_rows]


def colours(frame: pd.DataFrame) -> dict[str, str]:
    """Map the name of each model of the study to a colour."""
    return {model: PALETTE[place % len(PALETTE)] for place, model in enumerate(_all_models(frame))}


def _all_models(frame: pd.DataFrame) -> list[str]:
    return list(frame["model"].astype("category").cat.categories)


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of `width` × `height` inches."""
    return Figure(figsize=(width, height), layout="constrained")


def legend_below(figure: Figure, axes: Axes) -> None:
    """Draw the legend below the figure, where it hides no line."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 3 if max(map(len, labels)) <= WIDE else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def few_labels(axis: Axis) -> None:
    """Give a logarithmic axis of less than two decades at most six labels, all as plain numbers.

    Call this after the data are drawn. Matplotlib's own labels of such an axis (2 × 10⁻¹,
    3 × 10⁻¹, …) are so wide that they overlap.
    """
    low, high = axis.get_view_interval()
    if high < 100 * low:
        narrow = high < 6 * low  # 1, 2, 5, 10, … would leave fewer than two labels
        axis.set_major_locator(MaxNLocator(4) if narrow else LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def to_svg(figure: Figure, name: str) -> str:
    """Convert a figure to SVG text in which all ids start with `name`.

    Equal figures give byte-equal text.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    # The ids of images are removed, because nothing refers to them and equal images share an id.
    svg = re.sub(r'(<image\b[^>]*?) id="[^"]*"', r"\1", buffer.getvalue())
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)


def inline(svg: str, label: str) -> Markup:
    """Convert SVG text to an element of an HTML page, without prolog, style and fixed size."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", element, flags=re.DOTALL)
    head, rest = element.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    label = Markup(' role="img" aria-label="{}">').format(label)
    # The SVG text is safe as HTML, because matplotlib escapes the labels.
    return Markup(head) + label + Markup(rest)
