"""How numbers are written in the report: few digits, with a dash for what is not known."""

import math

import pandas as pd

from lookback.summarise.quantities.base import SHARE, STEPS

NONE = "–"


def number(value: float, metric: str = "", *, decimals: int | None = None) -> str:
    """Four decimals for an accuracy, otherwise three significant digits or as many `decimals`."""
    if pd.isna(value):
        return NONE
    if decimals is not None:
        return f"{value:.{decimals}f}"
    return f"{value:.4f}" if metric == "accuracy" else f"{value:#.3g}".rstrip(".")


def interval(low: float, high: float, metric: str = "") -> str:
    """An interval: «0.962 to 0.985»; a dash if it is not known."""
    return NONE if pd.isna(low) else f"{number(low, metric)} to {number(high, metric)}"


def steps(value: float) -> str:
    """A number of steps: without decimals from ten on; «∞» for an infinite one."""
    if pd.isna(value):
        return NONE
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")


def hundredths(value: float) -> str:
    """A correlation or a share with two decimals; never «-0.00»."""
    return NONE if pd.isna(value) else f"{round(value, 2) + 0.0:.2f}"


def percent(value: float) -> str:
    """A share in percent, without decimals."""
    return NONE if pd.isna(value) else f"{100 * value:,.0f}\N{NO-BREAK SPACE}%"


def shown(value: float, unit: str, *, is_censored: bool = False) -> str:
    """A value in this unit; «≥» in front of a censored one."""
    text = {STEPS: steps, SHARE: hundredths}.get(unit, number)(value)
    return f"≥ {text}" if is_censored else text
