"""Format the numbers of the report with few digits, and unknown numbers as a dash."""

import math

import pandas as pd

from lookback.summarise.quantities.base import SEEDS, SHARE, STEPS

NONE = "–"


def number(value: float, metric: str = "", *, decimals: int | None = None) -> str:
    """Format an accuracy with four decimals, and any other value with three significant digits.

    If `decimals` is given, it sets the number of decimals.
    """
    if pd.isna(value):
        return NONE
    if decimals is not None:
        return f"{value:.{decimals}f}"
    return f"{value:.4f}" if metric == "accuracy" else f"{value:#.3g}".rstrip(".")


def interval(low: float, high: float, metric: str = "") -> str:
    """Format an interval as «0.962 to 0.985», or as a dash if it is unknown."""
    return NONE if pd.isna(low) else f"{number(low, metric)} to {number(high, metric)}"


def steps(value: float) -> str:
    """Format a number of steps with at most one decimal, and without decimals from ten on.

    An infinite number is «∞».
    """
    if pd.isna(value):
        return NONE
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")


def hundredths(value: float) -> str:
    """Format a correlation or a share with two decimals, but never as «-0.00»."""
    return NONE if pd.isna(value) else f"{round(value, 2) + 0.0:.2f}"


def percent(value: float) -> str:
    """Format a share in percent, without decimals."""
    return NONE if pd.isna(value) else f"{100 * value:,.0f}\N{NO-BREAK SPACE}%"


def shown(value: float, unit: str, *, is_censored: bool = False, is_below: bool = False) -> str:
    """Format a value in the given unit, with «≥» or «<» in front if only a bound is known."""
    text = {STEPS: steps, SHARE: hundredths, SEEDS: steps}.get(unit, number)(value)
    sign = "≥ " if is_censored else "< " if is_below else ""
    return sign + text
