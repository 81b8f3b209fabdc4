"""The memory card: what the probes say of each cell's memory, one row a cell.

horizon        the largest lag up to which recall stays above one half (summarise/horizon.py)
half_distance  ln 2 / −r steps: where the gradient has halved at its rate r, before training and
               after; of the states, the one through which it fades least
lyapunov       the first exponent of the trained network, nats per step (Benettin et al. 1980);
               jacobian_rate is the same from behind, the rate of ‖∂s_T/∂s_t‖ by T − t, and
               rate_difference how far the two are apart, as a share of the exponent
capacity       Σ over delays of the positive linear capacities (Jaeger 2001), trained
decoding       the last distance up to which a linear read-out, less its control task, finds more
               than half of what it finds at once
context        the fewest last steps with which the model has 95 % of its whole skill
timescale      the 90th percentile over units of a gate's time constant, in steps

Over seeds: the mean, of the rates before the half-distance is taken, of the curves before a
distance is read off them, and of the logarithm of a timescale. NaN is what was not measured.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from lookback.summarise.horizon import horizon
from lookback.summarise.rates import agreement, half_distance, rate

CARD = {"task": "str", "model": "str"}
CARD |= dict.fromkeys(("horizon", "horizon_low", "horizon_high"), "float64")
CARD |= {"horizon_censored": "bool"}
CARD |= dict.fromkeys(("half_distance_initial", "half_distance_trained"), "float64")
CARD |= dict.fromkeys(("lyapunov", "jacobian_rate", "rate_difference"), "float64")
CARD |= dict.fromkeys(("capacity", "decoding", "context", "timescale", "skill"), "float64")
CARD |= {"parameters": "Int64", "seeds": "int64"}

FOUND = 0.05  # skill under this is noise: there is nothing of which a share could be kept
KEPT = 0.95  # of the whole skill, by the context that counts as enough
SLOWEST = 0.9  # the quantile over units that stands for a cell's timescales

Row = dict[str, Any]


def memory_card(results: pd.DataFrame, probes: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The card of a study from its `results` and what its probes measured, by probe.

    Columns: those of CARD. The time that training took is not among them: like all other tables
    but `cost`, the card is the same for the same results.
    """
    rows = []
    for cell in results.to_dict("records"):
        row = {"task": cell["task"], "model": cell["model"], "horizon_censored": False}
        row |= {"skill": skill(cell), "parameters": cell["parameters"], "seeds": cell["seeds"]}
        for probe in FIGURES.keys() & probes.keys():
            frame = probes[probe]
            own = frame[(frame["task"] == cell["task"]) & (frame["model"] == cell["model"])]
            if len(own):
                row |= FIGURES[probe](own)
        rows.append(row)
    card = pd.DataFrame(rows, columns=list(CARD)).astype(CARD)
    pairs = zip(card["jacobian_rate"], card["lyapunov"], strict=True)
    return card.assign(rate_difference=[agreement(rate, exponent) for rate, exponent in pairs])


def skill(cell: Mapping[Any, Any]) -> float:
    """A cell's test metric, from 0 at the trivial baseline to 1 where every answer is right."""
    if cell["better"] == "higher":
        return float((cell["mean"] - cell["baseline"]) / (1 - cell["baseline"]))
    return float(1 - cell["mean"] / cell["baseline"])


def recall(frame: pd.DataFrame) -> Row:
    """The horizon and its interval, from `recall_by_lag`."""
    found = horizon(frame)
    bounds = {"horizon_low": found.low, "horizon_high": found.high}
    return {"horizon": found.value, **bounds, "horizon_censored": found.censored}


def gradients(frame: pd.DataFrame) -> Row:
    """Half-distances of the gradient and the rate of the Jacobian, from `gradient_flow`."""
    rates = mean_rates(frame)
    loss = rates[rates["quantity"] == "gradient"].groupby("stage")["rate"].max()
    row = {f"half_distance_{stage}": half_distance(slowest) for stage, slowest in loss.items()}
    backward = rates[(rates["quantity"] == "jacobian") & (rates["stage"] == "trained")]
    return row | {"jacobian_rate": backward["rate"].max()}


def mean_rates(frame: pd.DataFrame) -> pd.DataFrame:
    """The rate of each quantity, stage and state, mean over seeds; NaN where one step is left."""
    kinds = ["quantity", "stage", "state"]
    rates = [
        (*keys, rate(own["distance"], own["log_norm"]))
        for keys, own in frame.groupby([*kinds, "seed"])
    ]
    found = pd.DataFrame(rates, columns=[*kinds, "seed", "rate"])
    return found.groupby(kinds)["rate"].mean().reset_index()


def exponents(frame: pd.DataFrame) -> Row:
    """The first exponent after training, from `lyapunov`."""
    first = frame[(frame["stage"] == "trained") & (frame["index"] == 0)]
    return {"lyapunov": first["exponent"].mean()}


def capacities(frame: pd.DataFrame) -> Row:
    """The linear memory capacity after training, from `memory_capacity`."""
    linear = frame[(frame["stage"] == "trained") & (frame["degree"] == 1)]
    positive = linear["capacity"].clip(lower=0).groupby(linear["seed"]).sum()
    return {"capacity": positive.mean()}


def decoding(frame: pd.DataFrame) -> Row:
    """How long the state holds half of the evidence, from `state_decoding`; 0 where it has none."""
    excess = (frame["skill"] - frame["control"]).groupby(frame["distance"]).mean()
    if excess.iloc[0] < FOUND:
        return {"decoding": 0.0}
    kept = (excess > excess.iloc[0] / 2).cummin()
    return {"decoding": float(kept.index[kept][-1])}


def context(frame: pd.DataFrame) -> Row:
    """How many last steps the model needs, from `effective_context`; NaN where it has no skill."""
    curve = frame.groupby("context")["skill"].mean()
    whole = curve.iloc[-1]
    enough = curve.index[curve >= KEPT * whole][0] if whole >= FOUND else math.nan
    return {"context": float(enough)}


def timescales(frame: pd.DataFrame) -> Row:
    """The time constant of the slow units, from `gate_timescales`."""
    known = frame[frame["timescale"].notna()].groupby("seed")["timescale"]
    slow = known.quantile(SLOWEST, interpolation="lower")  # a unit's own: ∞ has no middle
    return {"timescale": float(np.exp(np.log(slow).mean()))}


FIGURES: dict[str, Callable[[pd.DataFrame], Row]] = {
    "recall_by_lag": recall,
    "gradient_flow": gradients,
    "lyapunov": exponents,
    "memory_capacity": capacities,
    "state_decoding": decoding,
    "effective_context": context,
    "gate_timescales": timescales,
}
