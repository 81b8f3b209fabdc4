"""From probe `gradient_flow`: how fast the gradient fades with the distance from the answer."""

import math
from typing import Literal

import pandas as pd

from lookback.summarise.quantities.base import NOT_MEASURED, Estimate
from lookback.summarise.rates import half_distance, rate


def gradient_half_distance(rows: pd.DataFrame, *, stage: Literal["initial", "trained"]) -> Estimate:
    """The steps in which ‖∂L/∂h_t‖ halves, for the state through which the gradient fades least.

    The rate is the mean over seeds of the rates of the seeds; ∞ if the gradient does not fade.
    """
    rates = mean_rates(rows)
    rates = rates[(rates["quantity"] == "gradient") & (rates["stage"] == stage)]
    return NOT_MEASURED if rates.empty else Estimate(half_distance(rates["rate"].max()))


def jacobian_rate(rows: pd.DataFrame) -> Estimate:
    """The rate in nats per step at which ‖∂s_T/∂s_t‖ changes with T − t, after training."""
    rates = mean_rates(rows)
    rates = rates[(rates["quantity"] == "jacobian") & (rates["stage"] == "trained")]
    return NOT_MEASURED if rates.empty else Estimate(float(rates["rate"].max()))


def mean_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns quantity, stage, state, rate: the mean over seeds of the rates of the seeds.

    The rate is NaN if the gradient reaches the answer from one step only.
    """
    kinds = ["quantity", "stage", "state"]
    rates = [
        (*keys, rate(seed_rows["distance"], seed_rows["log_norm"]))
        for keys, seed_rows in rows.groupby([*kinds, "seed"])
    ]
    by_seed = pd.DataFrame(rates, columns=[*kinds, "seed", "rate"])
    return by_seed.groupby(kinds)["rate"].mean().reset_index()


def gradient_left(rows: pd.DataFrame) -> float:
    """‖∂L/∂h_t‖ at the farthest step as a multiple of its value at the answer, after training.

    Of the hidden states of the last layer through which earlier steps reach the answer; the median
    over sequences, its logarithm averaged over seeds. 0 if the gradient vanishes on the way; NaN if
    no earlier state reaches the answer.
    """
    if not (rows["quantity"] == "gradient").any():
        return math.nan
    states = last_layer(rows)
    states = states[(states["stage"] == "trained") & (states["kind"] == "hidden")]
    log_norm = states.groupby("distance")["log_norm"].mean()
    if log_norm.drop(index=0, errors="ignore").isna().all():
        return math.nan
    difference = log_norm[log_norm.index.max()] - log_norm[0]
    return 0.0 if math.isnan(difference) else math.exp(difference)


def last_layer(frame: pd.DataFrame) -> pd.DataFrame:
    """The gradients of each model's last layer; adds the column `kind`: «hidden», «cell».

    A layer counts if earlier steps reach the answer through it. In the top layer of a transformer
    only the answering step does.
    """
    frame = frame[frame["quantity"] == "gradient"]
    parts = frame["state"].str.split("/", expand=True)  # «hidden/1»
    layer = parts[1].astype(int)
    reaches_answer = frame["log_norm"].notna() & (frame["distance"] > 0)
    by_model = frame["model"] if "model" in frame else pd.Series("", index=frame.index)
    last = layer.where(reaches_answer).groupby(by_model, observed=True).transform("max")
    return frame.assign(kind=parts[0])[layer == last.fillna(0)]
