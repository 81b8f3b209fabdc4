"""How every figure looks, one colour a model throughout, and how it becomes SVG.

Colours: Okabe & Ito 2008, "Color universal design", told apart by colour-blind readers; past
eight models, the muted ones of Tol 2021. A frame's column `model` is categorical, over all models
of the study: that fixes the colours.
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
from matplotlib.figure import Figure

PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A7A7A"),
    *("#882255", "#117733", "#999933", "#332288"),
)
WIDE = 16  # letters of a label of which three no longer stand side by side
WIDTH = 4.4  # inches: a phone shows it nearly in full size
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
    "svg.fonttype": "none",  # text stays text: small, and can be searched
}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style, whatever the user's matplotlibrc says."""
    with matplotlib.style.context(["default", STYLE]):
        yield


def models(frame: pd.DataFrame) -> list[str]:
    """The models that the frame has rows of, in the study's order."""
    there = set(frame["model"].dropna())
    return [model for model in _all_models(frame) if model in there]


def colours(frame: pd.DataFrame) -> dict[str, str]:
    """The colour of each model of the study."""
    return {model: PALETTE[place % len(PALETTE)] for place, model in enumerate(_all_models(frame))}


def _all_models(frame: pd.DataFrame) -> list[str]:
    return list(frame["model"].astype("category").cat.categories)


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of `width` × `height` inches."""
    return Figure(figsize=(width, height), layout="constrained")


def legend_below(figure: Figure, axes: Axes) -> None:
    """The legend under the figure, where it hides no line."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 3 if max(map(len, labels)) <= WIDE else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an SVG file, the same bytes at every call; its ids start with `name`."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    # Equal images would have equal ids, which nothing refers to.
    svg = re.sub(r'(<image\b[^>]*?) id="[^"]*"', r"\1", buffer.getvalue())
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)


def inline(svg: str, label: str) -> Markup:
    """An SVG file as an element of a page: without prolog, own style and fixed size."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", element, flags=re.DOTALL)
    head, rest = element.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    label = Markup(' role="img" aria-label="{}">').format(label)
    return Markup(head) + label + Markup(rest)  # drawn by us; matplotlib escapes
