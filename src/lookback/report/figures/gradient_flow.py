"""How the gradient log₁₀ ‖∂L/∂h_t‖ of the loss fades with the distance of step t from the answer.

The distance is the number of steps before the answer. Line: the median over test sequences,
averaged over seeds, for the hidden states of the last layer. Dashed: the cell state of an LSTM.
Band: quartiles over test sequences. A line ends where the gradient is exactly zero. A transformer
of one layer has no line, because its answer depends on no hidden state at an earlier step.

Lowest panel: log₁₀ ‖∂s_q/∂s_t‖, the largest effect that a small change of the whole state s at step
t can have on the state at the answering step q. Dotted: before training. A straight line means that
the norm changes exponentially with the distance.
"""

import math
from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookback.report.drawing import colours, legend_below, models, new_figure
from lookback.report.numbers import steps
from lookback.summarise.quantities.gradient_half_distance import (
    gradient_left,
    jacobian_rate,
    last_layer,
)
from lookback.summarise.rates import half_distance

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
        rows = frame[frame["model"] == model]
        for stage, line in (("initial", ":"), ("trained", "-")):
            mean = rows[rows["stage"] == stage].groupby("distance")["log_norm"].mean() / TEN
            axes.plot(mean.index, mean, line, color=colours(frame)[model])


def _lines(axes: Axes, frame: pd.DataFrame) -> None:
    for model in models(frame):
        rows, colour = frame[frame["model"] == model], colours(frame)[model]
        for kind in sorted(rows["kind"].unique(), key=lambda kind: kind != "hidden"):
            mean = (
                rows[rows["kind"] == kind].groupby("distance")[["log_norm", "low", "high"]].mean()
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


def finding(frame: pd.DataFrame) -> str:
    """Describe how much gradient is left at the farthest step, and how fast the Jacobian fades."""
    distance = frame.loc[frame["quantity"] == "gradient", "distance"].max()
    left = {model: gradient_left(frame[frame["model"] == model]) for model in models(frame)}
    known = {model: value for model, value in left.items() if not math.isnan(value)}
    ordered = sorted(known.items(), key=lambda pair: -pair[1])
    listed = ", ".join(f"{model} {_unbroken(value)}" for model, value in ordered)
    sentences = [
        f"After training, the gradient {distance} steps before the answer is this multiple of the "
        f"gradient at the answer: {listed}."
    ]
    if unreached := ", ".join(model for model in left if model not in known):
        sentences.append(f"No earlier state reaches the answer in {unreached}.")
    return " ".join([*sentences, *_half_distances(frame)])


def _half_distances(frame: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence on how many steps it takes until the norm of the state's Jacobian halves."""
    halves = {
        model: half_distance(jacobian_rate(frame[frame["model"] == model]).value)
        for model in models(frame)
    }
    fading = sorted((half, model) for model, half in halves.items() if math.isfinite(half))
    ends = [f"halves every {steps(half)} steps in {model}" for half, model in fading]
    if lasting := ", ".join(model for model, half in halves.items() if math.isinf(half)):
        ends.append(f"does not fade in {lasting}")
    if ends:
        yield f"Far from the answer, the effect of a change of the whole state {'; '.join(ends)}."


def _unbroken(value: float) -> str:
    """Format a value with two significant digits, and allow no line break after a minus sign."""
    return "∞" if math.isinf(value) else f"{value:.2g}".replace("-", "\N{NON-BREAKING HYPHEN}")
