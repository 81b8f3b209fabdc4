"""What a quantity of the memory card is: its name, its unit, and the function that computes it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

# The role of a quantity in the test of theory (summarise/theory.py).
Role = Literal["outcome", "theory", "half behavioural", "descriptive"]

STEPS = "steps"
RATE = "nats per step"
SHARE = "share"
INPUTS = "inputs"


class Estimate(NamedTuple):
    """A quantity of one cell. Bounds of a 95 % interval, NaN if there is none.

    `censored`: the true value is at least `value`, because no longer lag was measured.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    censored: bool = False


NOT_MEASURED = Estimate(math.nan)


@dataclass(frozen=True)
class Quantity:
    """One quantity of the memory card; a row of `registry.QUANTITIES`.

    `measure` takes the rows that `probe` measured in one cell. For a quantity without a probe,
    `measure` takes the cell's row of the card and of `results` as a mapping.
    """

    name: str  # the column of the memory card, and the metric memory/<name> in MLflow
    label: str  # in tables and on axes
    unit: str
    probe: str
    measure: Callable[[Any], Estimate]
    definition: str  # one sentence, without the label: «the lag up to which …»
    role: Role = "descriptive"
    has_interval: bool = False
    may_be_censored: bool = False
    is_shown: bool = True  # as a column of the report's memory card
    is_tracked: bool = True  # as a metric in MLflow

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the memory card that hold the quantity, with their pandas types."""
        columns = {self.name: "float64"}
        if self.has_interval:
            columns |= {f"{self.name}_low": "float64", f"{self.name}_high": "float64"}
        if self.may_be_censored:
            columns[f"{self.name}_censored"] = "bool"
        return columns

    def entries(self, estimate: Estimate) -> dict[str, Any]:
        """The values of `columns` for an estimate."""
        values = (estimate.value, estimate.low, estimate.high, estimate.censored)
        names = (self.name, f"{self.name}_low", f"{self.name}_high", f"{self.name}_censored")
        return {
            name: value for name, value in zip(names, values, strict=True) if name in self.columns
        }
