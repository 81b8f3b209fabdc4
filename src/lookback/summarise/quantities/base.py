"""Define a quantity of the memory card by its name, its unit and the function that computes it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

# Each quantity has one of these roles in the test of theory (summarise/theory.py).
Role = Literal["outcome", "theory", "initial theory", "rival", "half behavioural", "descriptive"]

STEPS = "steps"
RATE = "nats per step"
SHARE = "share"
INPUTS = "inputs"
SIGMA = "σ"
SEEDS = "seeds"
UNITS = "units"
FACTOR = "factor"


class Estimate(NamedTuple):
    """The value of one quantity for one model on one task, with a 95 % interval if it is known.

    The bounds `low` and `high` of the 95 % interval are NaN if there is no interval. `censored`
    means that the true value is at least `value`, because no longer lag was measured. `below` means
    that the true value is at most `value`, because no shorter lag was measured.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    censored: bool = False
    below: bool = False


NOT_MEASURED = Estimate(math.nan)


@dataclass(frozen=True)
class Quantity:
    """One quantity of the memory card, which is one row of `registry.QUANTITIES`.

    `measure` takes the rows that `probe` measured for one model on one task. For a quantity without
    a probe, `measure` takes one row of the memory card and one row of the table `results`, merged
    into one mapping.
    """

    name: str  # the column name in the memory card; in MLflow, the metric is memory/<name>
    label: str  # the name in tables and on axes
    unit: str
    probe: str
    measure: Callable[[Any], Estimate]
    definition: str  # a phrase that explains the label, such as «the lag up to which …»
    role: Role = "descriptive"
    has_interval: bool = False
    may_be_censored: bool = False
    may_be_below: bool = False
    is_shown: bool = True  # whether the report shows the quantity in the memory card
    is_tracked: bool = True  # whether MLflow gets the quantity as a metric

    @property
    def columns(self) -> dict[str, str]:
        """The names and pandas types of the columns of the memory card that hold the quantity."""
        columns = {self.name: "float64"}
        if self.has_interval:
            columns |= {f"{self.name}_low": "float64", f"{self.name}_high": "float64"}
        if self.may_be_censored:
            columns[f"{self.name}_censored"] = "bool"
        if self.may_be_below:
            columns[f"{self.name}_below"] = "bool"
        return columns

    def entries(self, estimate: Estimate) -> dict[str, Any]:
        """Map the name of each column in `columns` to its value in the given estimate."""
        ends = ("", "_low", "_high", "_censored", "_below")
        values = {f"{self.name}{end}": value for end, value in zip(ends, estimate, strict=True)}
        return {name: values[name] for name in self.columns}
