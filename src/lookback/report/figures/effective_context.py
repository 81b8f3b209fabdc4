"""Skill if only the last k steps before the answer are kept.

All earlier steps are replaced by those of another sequence. Line: the mean over test sequences and
seeds; band: the range over seeds. A model uses only the steps up to the point at which its line
stops rising. Skill 0 is the trivial baseline, 1 is perfect; below 0 the foreign steps mislead the
model.
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
    """How many of the last steps each model needs for nearly all of its skill."""
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
