"""The input of a test sequence, and how much each step contributes to the model's answer.

Red steps support the class that the model answered, or raise the value that it answered. Blue steps
oppose the answered class or lower the answered value. Each strip has its own colour scale. Black
triangles mark the evidence, if the steps of the evidence are known. Features run from top to bottom
in each strip.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookback.report.drawing import models, new_figure


def draw(frame: pd.DataFrame) -> Figure:
    """Columns of `frame`: title, model, explainer, answer, step, feature, value, evidence.

    The frame holds one sequence. Rows with an empty column `model` hold the inputs of the sequence.
    """
    inputs, given = frame[frame["model"].isna()], frame[frame["model"].notna()]
    names, explainers = models(given), list(given["explainer"].unique())
    strip = min(0.8, 0.28 + 0.03 * inputs["feature"].max())  # inches; one feature needs few
    figure = new_figure(0.9 + strip * (len(names) + 1))
    columns = figure.subplots(1, len(explainers), squeeze=False, sharey=True)[0]
    for axes, explainer in zip(columns, explainers, strict=True):
        _strip(axes, inputs, 0, "Greys")
        for place, model in enumerate(names, start=1):
            is_shown = (given["model"] == model) & (given["explainer"] == explainer)
            _strip(axes, given[is_shown], place, "RdBu_r")
        _plain(axes, inputs["step"].max(), len(names))
        axes.set_title(explainer.replace("_", " "), fontsize=8.5)
    answers = given.groupby("model", observed=True)["answer"].first()
    labels = ["input", *(f"{model}: {answers[model]}" for model in names)]
    columns[0].set_yticks(range(len(labels)), labels)
    figure.suptitle(frame["title"].iloc[0], fontsize=10)
    return figure


def _strip(axes: Axes, frame: pd.DataFrame, place: int, colormap: str) -> None:
    """Draw a strip with one column per step at height `place`, or «–» if there are no values."""
    if frame.empty:
        axes.text(0.5, place, "–", transform=axes.get_yaxis_transform(), ha="center", va="center")
        return
    values = frame.pivot(index="feature", columns="step", values="value").to_numpy()
    largest = np.abs(values).max() or 1.0
    axes.imshow(
        values,
        cmap=colormap,
        vmin=-largest if colormap == "RdBu_r" else values.min(),
        vmax=largest,
        extent=(-0.5, values.shape[1] - 0.5, place + 0.38, place - 0.38),
        aspect="auto",
        interpolation="none",
    )
    evidence = frame.loc[frame["evidence"], "step"].unique()
    axes.plot(evidence, [place - 0.44] * len(evidence), "kv", ms=3)


def _plain(axes: Axes, last: int, strips: int) -> None:
    """Set the limits of the axes so that all strips fit, and remove grid, spines and ticks."""
    axes.set(xlim=(-0.5, last + 0.5), ylim=(strips + 0.5, -0.6), xlabel="step")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
