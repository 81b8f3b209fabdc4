"""How long units keep what they hold after training, and how often their gates saturate.

Above: the share of units with a time constant, -1/⟨ln f⟩, of so many steps at most, over all layers
and seeds; f is the gate that keeps the state (of a linear recurrent unit its eigenvalue). Dotted:
the longest that the initialisation aimed at. Below, a dot a unit: the share of steps at which that
gate is shut (below 0.1) and open (above 0.9), after Karpathy et al. 2015.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure

SHORTEST, LONGEST = 0.1, 1e5  # steps: the axis


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, gate, timescale, left_saturated, right_saturated."""
    kept = keeping(frame)
    figure = new_figure(5.2)
    above, below = figure.subplots(2)
    for model in models(kept):
        own, colour = kept[kept["model"] == model], colours(frame)[model]
        _distribution(above, own, colour, model)
        below.plot(own["left_saturated"], own["right_saturated"], ".", color=colour, ms=3)
    above.set(xscale="log", xlabel="time constant (steps)", ylabel="share of units", ylim=(0, 1.02))
    above.set_title(f"{frame.iloc[0]['task']}, after training")
    below.set(xlabel="share of steps shut", ylabel="share of steps open")
    below.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    if len(kept):
        legend_below(figure, above)
    return figure


def _distribution(axes: Axes, frame: pd.DataFrame, colour: str, model: str) -> None:
    """A step up at each unit's time constant, those beyond the axis at its ends."""
    steps = np.sort(frame["timescale"].clip(SHORTEST, LONGEST))
    axes.step(steps, np.arange(1, len(steps) + 1) / len(steps), color=colour, label=model)
    if frame["aimed"].notna().any():
        axes.axvline(frame["aimed"].max(), color=colour, ls=":", lw=1)


def keeping(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the gates that keep a state: those with a time constant."""
    return frame[frame["timescale"].notna()]


def finding(frame: pd.DataFrame) -> str:
    """The middle and the longest tenth of each model's time constants."""
    kept = keeping(frame).groupby("model", observed=True)["timescale"]
    if not len(kept):
        return "No model here has gates or eigenvalues that keep a state."
    middle, longest = kept.median(), kept.quantile(0.9, interpolation="nearest")
    both = pd.DataFrame({"middle": middle, "longest": longest}).sort_values("middle")
    said = [f"{row.Index} {row.middle:.3g} and {row.longest:.3g}" for row in both.itertuples()]
    return f"Time constants in steps, a median unit's and the 90th percentile: {', '.join(said)}."
