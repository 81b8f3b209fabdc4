"""The skill of each model if only the last k steps before the answer are kept.

All steps before the last k are replaced by the steps of another sequence. Line: the mean over test
sequences and seeds. Band: the range over seeds. If a line stops rising at some k, the model does
not use steps farther back than k. Skill 0 is the trivial baseline, and skill 1 is perfect. A skill
below 0 means that the replaced steps mislead the model.
"""

import pandas as pd
from matplotlib.figure import Figure

from lookback.report.drawing import legend_below, models, new_figure
from lookback.report.lines import skill_lines
from lookback.report.numbers import steps
from lookback.summarise.quantities.context_needed import KEPT, context_needed


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: task, model, seed, context, skill."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    skill_lines(axes, frame, "context")
    axes.set(title=frame.iloc[0]["task"], xlabel="steps kept before the answer")
    legend_below(figure, axes)
    return figure


def finding(frame: pd.DataFrame) -> str:
    """State how many of the last steps each model needs for nearly all of its skill."""
    parts = []
    for model in models(frame):
        rows = frame[frame["model"] == model]
        whole = rows.loc[rows["context"] == rows["context"].max(), "skill"].mean()
        needed = context_needed(rows).value
        parts.append(f"{model} {steps(needed)} (skill {whole:.2f})" if needed > 0 else f"{model} –")
    return (
        f"Last steps that give {KEPT:.0%} of the skill with the whole sequence (–: no skill): "
        f"{', '.join(parts)}."
    )
