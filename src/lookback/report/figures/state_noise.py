"""The skill and the memory horizon of a network by the noise on its state, without training.

Noise with the standard deviation σ is added to each unit of the state at each step. Above: the mean
skill over all answers and seeds; 0 is the trivial baseline, 1 is perfect. Below: the memory horizon
from the same answers, up to the longest lag measured, and 0 if it is below the shortest.
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from lookback.report.drawing import colours, legend_below, models, new_figure
from lookback.report.numbers import number
from lookback.summarise.quantities.memory_horizon import memory_horizon
from lookback.summarise.quantities.noise_tolerance import noise_tolerance


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, sigma, sequence, lag, skill."""
    sigmas = sorted(frame["sigma"].dropna().unique())
    figure = new_figure(5.2)
    above, below = figure.subplots(2, sharex=True)
    for model in models(frame):
        rows, colour = frame[frame["model"] == model], colours(frame)[model]
        skill = rows.groupby("sigma")["skill"].mean()
        horizons = [memory_horizon(rows[rows["sigma"] == sigma]) for sigma in sigmas]
        horizon = [0.0 if it.below else it.value for it in horizons]
        above.plot(range(len(sigmas)), skill, "o-", color=colour, label=model, ms=3)
        below.plot(range(len(sigmas)), horizon, "o-", color=colour, ms=3)
    above.axhline(0, color="black", lw=0.8)
    above.set(title=frame.iloc[0]["task"], ylabel="skill")
    below.set_yscale("symlog", linthresh=1)
    below.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    below.set_ylim(bottom=-0.1, top=1.3 * frame["lag"].max())
    below.set(xlabel="σ of the noise on each unit at each step", ylabel="memory horizon (steps)")
    below.set_xticks(range(len(sigmas)), [f"{sigma:g}" for sigma in sigmas])
    legend_below(figure, above)
    return figure


def finding(frame: pd.DataFrame) -> str:
    """State the σ that halves the skill of each model, with the largest σ first."""
    tolerances = {model: noise_tolerance(frame[frame["model"] == model]) for model in models(frame)}
    measured = {model: it for model, it in tolerances.items() if it.value == it.value}
    if not measured:
        return "No model here has skill that noise on a state could reduce."
    parts = [
        f"{model} {'≥ ' if it.censored else ''}{number(it.value)}"
        for model, it in sorted(measured.items(), key=lambda pair: -pair[1].value)
    ]
    return f"The noise on each unit that halves the skill has the σ: {', '.join(parts)}."
