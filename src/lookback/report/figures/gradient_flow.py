"""How the gradient fades on its way back from the answer: ‖∂L/∂h_t‖ by distance, query − t.

Line: the median over test sequences, averaged over seeds, for the states of the last layer; dashed
for the cell state of an LSTM. Band: quartiles. A line ends where the gradient is exactly zero: in a
transformer of one layer at once, since its steps reach the answer by no state but the last.

Lowest panel: ‖∂s_q/∂s_t‖, the most that a change of a recurrence's whole state at t can still do at
the query q; dotted before training. A straight line is an exponential, falling or growing.
"""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure
from lookback.summarise.rates import half_distance, rate

STAGES = {"initial": "before training", "trained": "after training"}
TEN = math.log(10)


def draw(frame: pd.DataFrame) -> Figure:
    """Columns: task, model, seed, stage, quantity, state, distance, log_norm, low, high."""
    shown = last_layer(frame)
    figure = new_figure(6.6)
    *panels, lowest = figure.subplots(len(STAGES) + 1, sharex=True)
    for axes, (stage, title) in zip(panels, STAGES.items(), strict=True):
        axes.sharey(panels[0])
        _lines(axes, shown[shown["stage"] == stage])
        axes.set(title=f"{frame.iloc[0]['task']}, {title}", ylabel="log₁₀ ‖∂L/∂h‖")
    _jacobians(lowest, frame[frame["quantity"] == "jacobian"])
    lowest.set(title="the whole state, after training", ylabel="log₁₀ ‖∂s_q/∂s‖")
    lowest.set_xlabel("steps before the answer")
    legend_below(figure, panels[-1])
    return figure


def _jacobians(axes: Axes, frame: pd.DataFrame) -> None:
    for model in models(frame):
        own = frame[frame["model"] == model]
        for stage, line in (("initial", ":"), ("trained", "-")):
            mean = own[own["stage"] == stage].groupby("distance")["log_norm"].mean() / TEN
            axes.plot(mean.index, mean, line, color=colours(frame)[model])


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
    """The gradients of each model's last layer; its states' names «hidden/1» split off into `kind`.

    A layer counts if earlier steps reach the answer through it: in the top layer of a transformer
    only the answering step does.
    """
    frame = frame[frame["quantity"] == "gradient"]
    parts = frame["state"].str.split("/", expand=True)
    layer = parts[1].astype(int)
    reaches = frame["log_norm"].notna() & (frame["distance"] > 0)
    last = layer.where(reaches).groupby(frame["model"], observed=True).transform("max")
    return frame.assign(kind=parts[0])[layer == last.fillna(0)]


def finding(frame: pd.DataFrame) -> str:
    """After training: the gradient at the first step beside that at the answer; half-distances."""
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
        f"at the answer: {', '.join(said)}.{_halving(frame)}"
    )


def _halving(frame: pd.DataFrame) -> str:
    """The steps in which the Jacobian of the whole state halves, by the mean rate over seeds."""
    trained = frame[(frame["quantity"] == "jacobian") & (frame["stage"] == "trained")]
    if trained.empty:
        return ""
    halves = {
        model: half_distance(_mean_rate(trained[trained["model"] == model]))
        for model in models(trained)
    }
    ascending = sorted(halves.items(), key=lambda item: (math.isnan(item[1]), item[1]))
    said = ", ".join(f"{model} {_steps(half)}" for model, half in ascending)
    return f" What a change of the state can still do there halves in so many steps: {said}."


def _mean_rate(frame: pd.DataFrame) -> float:
    """The mean over seeds; NaN where one has none."""
    seeds = frame.groupby("seed")
    return float(np.mean([rate(seed["distance"], seed["log_norm"]) for _, seed in seeds]))


def _steps(half: float) -> str:
    return f"{half:.3g}" if math.isfinite(half) else "never" if half > 0 else "not known"


def _unbroken(value: float) -> str:
    """Two digits, with a minus at which no line is broken."""
    return f"{value:.2g}".replace("-", "\N{NON-BREAKING HYPHEN}")
