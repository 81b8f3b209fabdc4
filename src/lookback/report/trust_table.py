"""The tables of trust horizons: up to which lag a model remembers and each explainer shows it."""

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from lookback.report.inputs import ReportInputs
from lookback.report.numbers import NONE, shown
from lookback.report.result_tables import Row, Table
from lookback.summarise.quantities.base import STEPS

NOTE = (
    "In steps. Memory: the lag at which the skill of the explained answers falls to 0.5. Of each "
    "explainer: the trust horizon, the lag at which the average precision of the evidence falls to "
    "0.5, if a wrong answer counts as 0. Median over seeds of a logistic curve. The difference is "
    "memory that the explanation does not show. Intervals: like those of the memory horizon."
)


def trust_tables(inputs: ReportInputs) -> Iterator[Table]:
    """Yield one table per task with trust horizons: one row per model, one column per explainer."""
    frame = inputs.memory.get("trust_horizon")
    if frame is None:
        return
    for task, part in frame.groupby("task", observed=True):
        explainers = list(part["explainer"].unique())
        rows = []
        for model, of_model in part.groupby("model", observed=True):
            records = of_model.set_index("explainer").to_dict("index")
            memory = _horizon("memory", next(iter(records.values())))
            cells = (
                _horizon("trust", records[name]) if name in records else NONE for name in explainers
            )
            rows.append(Row([str(model), memory, *cells]))
        yield Table(
            name=f"trust_horizon_{task}",
            title=f"{task}: trust horizon",
            head=["model", "memory", *(name.replace("_", " ") for name in explainers)],
            rows=rows,
            frame=part,
            notes=[NOTE, inputs.sizes],
        )


def _horizon(name: str, row: Mapping[Any, Any]) -> str:
    bound = {f"is_{kind}": bool(row[f"{name}_{kind}"]) for kind in ("censored", "below")}
    text = shown(row[name], STEPS, **bound)
    low, high = (shown(row[f"{name}_{end}"], STEPS) for end in ("low", "high"))
    return text if low == high else Markup("{}<small>{} to {}</small>").format(text, low, high)
