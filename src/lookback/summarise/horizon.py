"""The memory horizon: the largest lag up to which the mean skill stays above one half."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
    lags, skill = curves.index.to_numpy(dtype=float), curves.to_numpy()
    found = _last_above(lags, skill[:, draws].mean(axis=-1))
    low, high = np.percentile(found, [2.5, 97.5]) if curves.shape[1] > 1 else (math.nan, math.nan)
    value = float(_last_above(lags, skill.mean(axis=1, keepdims=True))[0])
    return Horizon(value, float(low), float(high), value == lags[-1])


def _last_above(lags: NDArray[np.float64], skill: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.minimum.accumulate(skill > REMEMBERED).sum(axis=0)
    reached: NDArray[np.float64] = np.concatenate([[0.0], lags])[kept]
    return reached
