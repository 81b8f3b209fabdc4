"""How the gradient fades on its way back from the answer: ‖∂L/∂h_t‖ by distance, query − t.

Line: the median over test sequences, averaged over seeds, for the states of the last layer; dashed
for the cell state of an LSTM. Band: quartiles. A line ends where the gradient is exactly zero: in a
transformer of one layer at once, since its steps reach the answer by no state but the last.
"""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure

STAGES = {"initial": "before training", "trained": "after training"}
TEN = math.log(10)


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, stage, state, distance, log_norm, low, high."""
    shown = last_layer(frame)
    figure = new_figure(4.6)
    panels = figure.subplots(len(STAGES), sharex=True, sharey=True)
    for axes, (stage, title) in zip(panels, STAGES.items(), strict=True):
        _lines(axes, shown[shown["stage"] == stage])
        axes.set(title=f"{frame.iloc[0]['task']}, {title}", ylabel="log₁₀ ‖∂L/∂h‖")
    panels[-1].set_xlabel("steps before the answer")
    legend_below(figure, panels[-1])
    return figure


def _lines(axes: Axes, frame: pd.DataFrame) -> None:
    for model in models(frame):
        own, colour = frame[frame["model"] == model], colours(frame)[model]
        for kind in sorted(own["kind"].unique(), key=lambda kind: kind != "hidden"):
            mean = (
                own[own["kind"] == kind].groupby("distance")[["log_norm", "low", "high"]].mean()
                / TEN
            )
            if kind == "hidden":
                axes.plot(mean.index, mean["log_norm"], color=colour, label=model)
                axes.fill_between(
                    mean.index, mean["low"], mean["high"], color=colour, alpha=0.12, lw=0
                )
            else:
                name = f"{model}, {kind} state"
                axes.plot(mean.index, mean["log_norm"], "--", color=colour, label=name)


def last_layer(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of each model's last layer; its states' names «hidden/1» split off into `kind`.

    A layer counts if earlier steps reach the answer through it: in the top layer of a transformer
    only the answering step does.
    """
    parts = frame["state"].str.split("/", expand=True)
    layer = parts[1].astype(int)
    reaches = frame["log_norm"].notna() & (frame["distance"] > 0)
    last = layer.where(reaches).groupby(frame["model"], observed=True).transform("max")
    return frame.assign(kind=parts[0])[layer == last.fillna(0)]


def finding(frame: pd.DataFrame) -> str:
    """How large the gradient at the first step is beside that at the answer, after training."""
    shown = last_layer(frame)
    shown = shown[(shown["stage"] == "trained") & (shown["kind"] == "hidden")]
    farthest = shown["distance"].max()
    mean = shown.groupby(["model", "distance"], observed=True)["log_norm"].mean().unstack() / TEN
    reaches = mean.drop(columns=0).notna().any(axis=1)
    left = (mean[farthest] - mean[0])[reaches].fillna(-math.inf).sort_values(ascending=False)
    said = [f"{model} {_unbroken(10**power)}" for model, power in left.items()]
    said += [f"{model} none through its states" for model in reaches.index[~reaches]]
    return (
        f"After training, the gradient {farthest} steps before the answer, as a multiple of that "
        f"at the answer: {', '.join(said)}."
    )


def _unbroken(value: float) -> str:
    """Two digits, with a minus at which no line is broken."""
    return f"{value:.2g}".replace("-", "\N{NON-BREAKING HYPHEN}")
