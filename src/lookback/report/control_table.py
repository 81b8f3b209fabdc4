"""The table of the best explainer beside the controls, and what it says about the task."""

from collections.abc import Iterator

import pandas as pd

from lookback.report.inputs import ReportInputs
from lookback.report.numbers import number, percent
from lookback.report.result_tables import Row, Table
from lookback.summarise.controls import KNOW_NOTHING

NOTE = (
    "The explainer with the best mean, beside attributions that explain nothing. Random: random "
    "numbers. Position: the mean map of the other sequences. Magnitude: the size of the inputs. "
    "Untrained: the same explainer before training. Oracle: the evidence itself. Position and "
    "untrained are those of the explainer for which they score best. Right: the share of the "
    "sequences whose answer is right; the scores with evidence take only these. Grey: a control "
    "comes within 10 % of the best explainer."
)


CONTROLS = ("random", *KNOW_NOTHING, "oracle")


def control_tables(inputs: ReportInputs) -> Iterator[Table]:
    """Yield one table per task, with one row for each model and score."""
    for task, part in inputs.controls.groupby("task", observed=True):
        names = ("value", "chance", *KNOW_NOTHING, "oracle")
        rows = [
            Row(
                [
                    row["model"],
                    row["score"],
                    row["explainer"].replace("_", " "),
                    *(number(row[name]) for name in names),
                    percent(row["share"]),
                ],
                "weak" if row["near"] else "",
            )
            for row in part.to_dict("records")
        ]
        yield Table(
            name=f"controls_{task}",
            title=f"{task}: the best explainer beside the controls",
            head=["model", "score", "best explainer", "its score", *CONTROLS, "right"],
            rows=rows,
            frame=part,
            notes=[NOTE, inputs.sizes],
        )


def control_sentences(inputs: ReportInputs, task: str) -> Iterator[str]:
    """Say which scores cannot tell explainers apart on a task, and which are broken for it."""
    frame = inputs.controls
    of_task = frame[frame["task"] == task]
    for score, rows in of_task.groupby("score", sort=False):
        near = rows[rows["near"] != ""]
        if len(near):
            yield f"By {score}, this task cannot tell explainers apart: {_listed(near)}."
        broken = rows[~rows["oracle_is_best"]]
        if len(broken):
            models = ", ".join(broken["model"])
            yield (
                f"The score {score} is broken for this task: the evidence itself scores less than "
                f"the best explainer for {models}."
            )


def _listed(near: pd.DataFrame) -> str:
    """Name the control of each model, as in «magnitude scores 1.00 and occlusion 1.00 for gru»."""
    parts = []
    for row in near.to_dict("records"):
        control = f"{row['near']} scores {number(row[row['near']])}"
        best = f"{row['explainer'].replace('_', ' ')} {number(row['value'])}"
        parts.append(f"{control} and {best} for {row['model']}")
    return "; ".join(parts)
