"""The table of the memory card in the report, with one row for each model on each task.

The table has one column per quantity that was measured for at least one model.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from lookback.report.inputs import ReportInputs
from lookback.report.numbers import NONE, number, percent, shown
from lookback.report.result_tables import Row, Table
from lookback.summarise.quantities.base import Quantity
from lookback.summarise.quantities.registry import QUANTITIES

# The Lyapunov exponent and the slope of ln ‖∂s_T/∂s_t‖ agree up to this relative difference.
AGREE = 0.05
NEAR = 0.005  # … or up to this difference in nats per step


def card_table(inputs: ReportInputs) -> Table:
    """The table of the memory card, extended by the mean training time of each model."""
    card = inputs.memory["memory_card"]
    seconds = inputs.cost.groupby(["task", "model"], observed=True)["train_seconds"].mean()
    frame = card.merge(seconds.reset_index(), on=["task", "model"], how="left")
    columns = [it for it in QUANTITIES if it.is_shown and frame[it.name].notna().any()]
    rows, task_above = [], None
    for row in frame.to_dict("records"):
        task = row["task"] if row["task"] != task_above else ""
        task_above = row["task"]
        cells = [task, row["model"], *(value_of(quantity, row) for quantity in columns)]
        is_weak = row["model"] in inputs.without_skill(row["task"])
        rows.append(Row([*cells, *_cost(row)], "weak" if is_weak else ""))
    definitions = [f"{it.label[0].upper()}{it.label[1:]}: {it.definition}." for it in columns]
    return Table(
        name="memory_card",
        title="Memory card",
        head=["task", "model", *map(title_of, columns), "parameters", "seeds", "train s"],
        rows=rows,
        frame=frame,
        notes=[
            " ".join(definitions),
            agreement_sentence(frame),
            "Rates and exponents are averaged over seeds; half-distances are medians over seeds; "
            "decoding distance and context from curves averaged over seeds; the time constant is "
            "the geometric mean over seeds; the horizon is the median over seeds. "
            f"Grey: the model did not beat the trivial baseline. {inputs.sizes}",
        ],
    )


def title_of(quantity: Quantity) -> str:
    """The column title of a quantity, with the unit."""
    return f"{quantity.label} ({quantity.unit})"


def value_of(quantity: Quantity, row: Mapping[Any, Any]) -> str:
    """Format a quantity's value and its interval, with «≥» or «<» in front of a mere bound."""
    is_censored = quantity.may_be_censored and bool(row[f"{quantity.name}_censored"])
    is_below = quantity.may_be_below and bool(row[f"{quantity.name}_below"])
    text = shown(row[quantity.name], quantity.unit, is_censored=is_censored, is_below=is_below)
    if not quantity.has_interval:
        return text
    low, high = (shown(row[f"{quantity.name}_{end}"], quantity.unit) for end in ("low", "high"))
    return text if low == high else Markup("{}<small>{} to {}</small>").format(text, low, high)


def agreement_sentence(card: pd.DataFrame) -> str:
    """Say for which models and tasks the Lyapunov exponent equals the slope of ln ‖∂s_T/∂s_t‖.

    Two values count as equal if they differ by at most AGREE of the exponent, or by at most NEAR
    nats per step. Near an exponent of zero, a share says nothing.
    """
    known = card[card["rate_difference"].notna()]
    if known.empty:
        return ""
    size = known["lyapunov"].abs()
    differing = known[known["rate_difference"] > np.maximum(AGREE * size, NEAR)]
    differing = differing.sort_values("rate_difference", ascending=False)
    differing = differing.assign(share=differing["rate_difference"] / differing["lyapunov"].abs())
    exceptions = [
        f"{row['task']} × {row['model']} {number(row['rate_difference'])} ({percent(row['share'])})"
        for row in differing.to_dict("records")
    ]
    end = f"; they differ by more in {', '.join(exceptions)}" if exceptions else ""
    count = f"{len(known) - len(differing)} of {len(known)} cells"
    return (
        f"Lyapunov exponent and backward rate agree within {NEAR:g} nats per step or "
        f"{percent(AGREE)} in {count}{end}."
    )


def _cost(row: Mapping[Any, Any]) -> tuple[str, str, str]:
    parameters, seconds = row["parameters"], row["train_seconds"]
    return (
        NONE if pd.isna(parameters) else f"{parameters:,}",
        f"{row['seeds']}",
        NONE if pd.isna(seconds) else number(seconds, decimals=1),
    )
