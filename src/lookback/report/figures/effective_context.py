"""Skill where only the last k steps before the answer are kept, the others another sequence's.

Line: the mean over test sequences and seeds; band: the range over seeds. Where a line has come to
its right end, the model uses no more than so many steps. Zero is the trivial baseline, one perfect;
below zero a model trusts what is not its own.
"""

import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import legend_below, models, new_figure
from lookback.report.lines import skill_lines

SHARE = 0.95  # of the skill with the whole sequence


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, context, skill."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    skill_lines(axes, frame, "context")
    axes.set(title=frame.iloc[0]["task"], xlabel="steps kept before the answer")
    legend_below(figure, axes)
    return figure


def needed(frame: pd.DataFrame) -> tuple[int, float] | None:
    """The smallest context of one model that reaches 95 % of the skill with all, and that skill.

    None where the skill with all is not above zero. Columns: seed, context, skill.
    """
    mean = frame.groupby("context")["skill"].mean()
    whole = float(mean.iloc[-1])
    return (int(mean.index[mean >= SHARE * whole][0]), whole) if whole > 0 else None


def finding(frame: pd.DataFrame) -> str:
    """How many steps each model needs for nearly all of its skill."""
    said = []
    for model in models(frame):
        found = needed(frame[frame["model"] == model])
        said.append(f"{model} {f'{found[0]} of {found[1]:.2f}' if found else 'none, no skill'}")
    return (
        f"Steps before the answer that give {100 * SHARE:.0f} % of the skill with the whole "
        f"sequence, and that skill: {', '.join(said)}."
    )
