"""The memory card, which is a table of the quantities of quantities/registry.py.

The table has one row per cell (a model on a task). A quantity that was not measured is NaN.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lookback.summarise.quantities.base import NOT_MEASURED, Estimate, Quantity
from lookback.summarise.quantities.registry import QUANTITIES

CARD = {"task": "str", "model": "str"}
for _quantity in QUANTITIES:
    CARD |= _quantity.columns
CARD |= {"parameters": "Int64", "seeds": "int64"}


def memory_card(results: pd.DataFrame, probes: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compute the memory card of a study from its table `results` and the measurements of `probes`.

    The columns are those of CARD. Training times are left out, so that equal results give an equal
    card.
    """
    rows = []
    for cell in results.to_dict("records"):
        row: dict[str, Any] = {str(name): value for name, value in cell.items()}
        for quantity in QUANTITIES:
            row |= quantity.entries(_estimate(quantity, row, probes))
        rows.append(row)
    return pd.DataFrame(rows, columns=list(CARD)).astype(CARD)


def _estimate(
    quantity: Quantity, row: Mapping[str, Any], probes: Mapping[str, pd.DataFrame]
) -> Estimate:
    """Compute one quantity of a cell (a model on a task).

    `row` holds the results of the cell and the quantities of the cell that were computed before.
    """
    if not quantity.probe:
        return quantity.measure(row)
    if quantity.probe not in probes:
        return NOT_MEASURED
    frame = probes[quantity.probe]
    rows = frame[(frame["task"] == row["task"]) & (frame["model"] == row["model"])]
    return quantity.measure(rows) if len(rows) else NOT_MEASURED
