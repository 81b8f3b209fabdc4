"""How good a model's answers are, on one scale for all tasks."""

from collections.abc import Mapping
from typing import Any

from lookback.summarise.quantities.base import Estimate


def skill(row: Mapping[str, Any]) -> Estimate:
    """The mean test score on a scale from 0 (trivial baseline) to 1 (every answer right)."""
    if row["better"] == "higher":
        return Estimate(float((row["mean"] - row["baseline"]) / (1 - row["baseline"])))
    return Estimate(float(1 - row["mean"] / row["baseline"]))
