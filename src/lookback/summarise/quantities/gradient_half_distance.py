"""How fast the gradient fades with the distance from the answer (probe `gradient_flow`)."""

import math
import sys
from typing import Literal

import pandas as pd

from lookback.summarise.quantities.base import NOT_MEASURED, Estimate
from lookback.summarise.rates import half_distance, rate

LARGEST_LOG = math.log(sys.float_info.max)


def gradient_half_distance(rows: pd.DataFrame, *, stage: Literal["initial", "trained"]) -> Estimate:
    """The number of steps in which ‖∂L/∂h_t‖ halves, for the state whose gradient fades least.

    The state h is a hidden or cell state of one layer. The rate at which the gradient of a state
    fades is averaged over seeds. The result is ∞ if the gradient does not fade.
    """
    rates = mean_rates(rows)
    rates = rates[(rates["quantity"] == "gradient") & (rates["stage"] == stage)]
    return NOT_MEASURED if rates.empty else Estimate(half_distance(rates["rate"].max()))


def jacobian_rate(rows: pd.DataFrame) -> Estimate:
    """The slope of ln ‖∂s_T/∂s_t‖ over the distance T − t after training, in nats per step."""
    rates = mean_rates(rows)
    rates = rates[(rates["quantity"] == "jacobian") & (rates["stage"] == "trained")]
    return NOT_MEASURED if rates.empty else Estimate(float(rates["rate"].max()))


def mean_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """The rate at which each norm changes with distance, averaged over seeds.

    The rate is the slope of the logarithm of the norm over distance. The columns are quantity,
    stage («initial» or «trained»), state and rate. A seed is left out if its norm is nonzero at
    fewer than two distances. The rate is NaN if all seeds are left out.
    """
    kinds = ["quantity", "stage", "state"]
    rates = [
        (*keys, rate(seed_rows["distance"], seed_rows["log_norm"]))
        for keys, seed_rows in rows.groupby([*kinds, "seed"])
    ]
    by_seed = pd.DataFrame(rates, columns=[*kinds, "seed", "rate"])
    return by_seed.groupby(kinds)["rate"].mean().reset_index()


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
