"""The memory horizon: the largest lag up to which the mean skill stays above one half."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

REMEMBERED = 0.5


class Horizon(NamedTuple):
    """A lag in steps, where its bootstrap puts it, and whether it lies past the longest tried."""

    value: float
    low: float
    high: float
    censored: bool


def horizon(frame: pd.DataFrame) -> Horizon:
    """The horizon of a cell's answers, columns seed, lag, skill; the interval is over seeds."""
    curves = frame.groupby(["seed", "lag"])["skill"].mean().unstack("seed").sort_index()
    draws = np.random.default_rng(0).integers(curves.shape[1], size=(999, curves.shape[1]))
    lags = [_last_above(curves.iloc[:, draw].mean(axis=1)) for draw in draws]
    low, high = np.percentile(lags, [2.5, 97.5]) if curves.shape[1] > 1 else (math.nan, math.nan)
    value = _last_above(curves.mean(axis=1))
    return Horizon(value, float(low), float(high), value == float(curves.index[-1]))


def _last_above(skill: pd.Series) -> float:
    kept = (skill > REMEMBERED).cummin()
    return float(kept.index[kept].max()) if kept.any() else 0.0
