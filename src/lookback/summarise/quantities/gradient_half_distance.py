"""After how many steps the gradient has halved (probe `gradient_flow`)."""

import math
import sys
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lookback.summarise.quantities.base import NOT_MEASURED, Estimate
from lookback.summarise.rates import rate

LARGEST_LOG = math.log(sys.float_info.max)


def gradient_half_distance(rows: pd.DataFrame, *, stage: Literal["initial", "trained"]) -> Estimate:
    """The number of steps before the answer at which ‖∂L/∂h_t‖ is half of its value at the answer.

    The state h is a hidden or cell state of one layer: the one whose gradient halves last. The
    result is the lower median over seeds. The result is censored at the largest distance if the
    gradient is still above one half there.
    """
    gradients = rows[(rows["quantity"] == "gradient") & (rows["stage"] == stage)]
    halves = []
    for _, state in gradients.groupby("state"):
        by_seed = [halved(of["distance"], of["log_norm"]) for _, of in state.groupby("seed")]
        known = np.sort([half for half in by_seed if not math.isnan(half)])
        if len(known):
            halves.append(float(known[(len(known) - 1) // 2]))
    if not halves:
        return NOT_MEASURED
    longest = float(gradients["distance"].max())
    half = max(halves)
    return Estimate(min(half, longest), censored=math.isinf(half))


def halved(distances: ArrayLike, log_norms: ArrayLike) -> float:
    """The smallest distance at which a norm is half of its value at distance 0.

    Between two distances, the logarithm of the norm is interpolated by a straight line. A norm
    without a finite logarithm is zero. The result is ∞ if the norm is above one half at all
    distances, and NaN if it is zero at distance 0 or at all others.
    """
    d, logs = np.asarray(distances, dtype=float), np.asarray(log_norms, dtype=float)
    order = np.argsort(d)
    d, logs = d[order], np.nan_to_num(logs[order], nan=-math.inf, posinf=math.inf)
    if len(d) == 0 or d[0] > 0 or not np.isfinite(logs[0]) or np.isneginf(logs[1:]).all():
        return math.nan
    level = logs[0] - math.log(2)
    if (logs > level).all():
        return math.inf
    first = int((logs <= level).argmax())
    share = (logs[first - 1] - level) / (logs[first - 1] - logs[first])
    share = 1.0 if np.isneginf(logs[first]) else share
    return float(d[first - 1] + share * (d[first] - d[first - 1]))


def jacobian_rate(rows: pd.DataFrame) -> Estimate:
    """The slope of ln ‖∂s_T/∂s_t‖ over the distance T − t after training, in nats per step.

    The slope is averaged over seeds. A seed without a slope (rates.py) is left out.
    """
    kept = rows[(rows["quantity"] == "jacobian") & (rows["stage"] == "trained")]
    slopes = [rate(of["distance"], of["log_norm"]) for _, of in kept.groupby("seed")]
    known = [slope for slope in slopes if not math.isnan(slope)]
    return Estimate(float(np.mean(known))) if known else NOT_MEASURED


def gradient_left(rows: pd.DataFrame) -> float:
    """‖∂L/∂h_t‖ at the farthest step divided by ‖∂L/∂h_t‖ at the answer, after training.

    The state h_t is the hidden state of the last layer through which earlier steps influence the
    answer. Each norm is the median over sequences, and its logarithm is averaged over seeds. The
    result is 0 if the gradient is exactly zero at the farthest step, and ∞ if the ratio is too
    large for a float. The result is NaN if the answer depends on no earlier state.
    """
    if not (rows["quantity"] == "gradient").any():
        return math.nan
    states = last_layer(rows)
    states = states[(states["stage"] == "trained") & (states["kind"] == "hidden")]
    log_norm = states.groupby("distance")["log_norm"].mean()
    if log_norm.drop(index=0, errors="ignore").isna().all():
        return math.nan
    difference = log_norm[log_norm.index.max()] - log_norm[0]
    if difference > LARGEST_LOG:
        return math.inf
    return 0.0 if math.isnan(difference) else math.exp(difference)


def last_layer(frame: pd.DataFrame) -> pd.DataFrame:
    """The gradients of each model's last layer, with an added column `kind` («hidden» or «cell»).

    The last layer is the highest layer through which earlier steps influence the answer. The top
    layer of a transformer does not count, because only its state at the answering step influences
    the answer.
    """
    frame = frame[frame["quantity"] == "gradient"]
    parts = frame["state"].str.split("/", expand=True)  # «hidden/1»
    layer = parts[1].astype(int)
    reaches_answer = frame["log_norm"].notna() & (frame["distance"] > 0)
    by_model = frame["model"] if "model" in frame else pd.Series("", index=frame.index)
    last = layer.where(reaches_answer).groupby(by_model, observed=True).transform("max")
    return frame.assign(kind=parts[0])[layer == last.fillna(0)]
