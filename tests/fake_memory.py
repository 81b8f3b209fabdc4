"""A study of memory as its results lie on disk: every probe of the memory card, with planted truth.

A gradient halves after `half` steps, and the model remembers for three times as long: past the
longest lag tried, it is censored.
"""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from lookback.storage.atomic import read_json
from lookback.storage.tables import write_parquet
from tests.fake_study import MODELS, SEEDS, TASKS, gradients_of, write_study

LAGS = np.arange(1, 121)
LONGEST = 128  # distance of the gradient
HALF = {
    ("adding", "rnn"): 2.0,
    ("adding", "lstm"): 14.0,
    ("adding", "gru"): 20.0,
    ("adding", "attention"): 60.0,
    ("digits_rows", "rnn"): 3.0,
    ("digits_rows", "lstm"): 10.0,
    ("digits_rows", "gru"): 25.0,
    ("digits_rows", "attention"): 70.0,
    ("digits_pixels", "rnn"): 1.0,
    ("digits_pixels", "lstm"): 7.0,
    ("digits_pixels", "gru"): 30.0,
    ("digits_pixels", "attention"): 50.0,
    **{(task, "transformer"): 80.0 for task in TASKS},
}
STATELESS = "transformer"
PROBES = {
    "recall_by_lag": {"sequences": 64},
    "gradient_flow": {"sequences": 64},
    "lyapunov": {"steps": 64},
    "memory_capacity": {"steps": 64},
    "state_decoding": {"sequences": 64},
    "effective_context": {"sequences": 64},
    "gate_timescales": {"sequences": 64},
    "state_noise": {"sequences": 64},
}


def write_memory(root: Path, tasks: tuple[str, ...] = tuple(TASKS)) -> Path:
    """Write the study under `root`/results; gives the plan that summarises it."""
    plan = write_study(root, tasks=tasks, probes=PROBES, explainers={})
    for cell, expected in read_json(plan)["cells"].items():
        task, _, model = cell.partition("/")
        folder = plan.parents[2] / "quick" / task / model / "probe"
        for probe in PROBES:
            frame = measured(probe, task, model)
            write_parquet(folder / f"{probe}.parquet", frame, expected["probe"][probe])
    return plan


def measured(probe: str, task: str, model: str) -> pd.DataFrame:
    """What a probe left of a cell: the same for each seed, but for the sequences of recall."""
    if probe == "gradient_flow":
        return gradients(model, LONGEST, HALF[task, model])
    if model == STATELESS and probe not in ("recall_by_lag", "effective_context"):
        return pd.DataFrame({"seed": SEEDS, "reason": "Transformer has no state"})
    frame = MADE[probe](HALF[task, model])
    return pd.concat([frame.assign(seed=seed) for seed in SEEDS], ignore_index=True)


def gradients(model: str, length: int, half: float) -> pd.DataFrame:
    frame = gradients_of(model, length, SEEDS)
    stage = np.where(frame["stage"] == "trained", 1.0, 3.0)
    fall = -math.log(2) / half * stage * frame["distance"]
    spread = {"log_norm": fall, "low": fall - 0.7, "high": fall + 0.7}
    return frame.assign(**spread)


def recall(half: float) -> pd.DataFrame:
    sequence, lag = np.meshgrid(np.arange(64), LAGS)
    frame = pd.DataFrame({"sequence": sequence.ravel(), "lag": lag.ravel()})
    return frame.assign(skill=1 / (1 + np.exp((frame["lag"] - 3 * half) / 2)))


def exponents(half: float) -> pd.DataFrame:
    first = -math.log(2) / half
    frames = [
        pd.DataFrame({"index": range(4), "exponent": np.arange(1, 5) * first * factor})
        for factor in (1.0, 3.0)
    ]
    both = [frame.assign(stage=s) for frame, s in zip(frames, ("trained", "initial"), strict=True)]
    return pd.concat(both).assign(kaplan_yorke=0.0)


def capacities(half: float) -> pd.DataFrame:
    delay = np.arange(1, 65)
    frame = pd.DataFrame({"degree": 1, "delay": delay, "capacity": 0.5 ** (delay / half)})
    frame = frame.assign(raw=frame["capacity"] + 0.01, bound=64, scale=1.0)
    return pd.concat([frame.assign(stage=stage) for stage in ("initial", "trained")])


def decoded(half: float) -> pd.DataFrame:
    distance = np.arange(0, 100, 2)
    return pd.DataFrame({"distance": distance, "skill": 0.5 ** (distance / half), "control": 0.0})


def contexts(half: float) -> pd.DataFrame:
    context = np.array([1, 2, 4, 8, 16, 32, 64, 128])
    return pd.DataFrame({"context": context, "skill": 1 - 0.5 ** (context / half)})


def timescales(half: float) -> pd.DataFrame:
    unit = np.arange(32)
    frame = pd.DataFrame({"gate": "forget", "layer": 0, "unit": unit, "aimed": math.nan})
    saturated = {"left_saturated": 0.1, "right_saturated": 0.4}
    return frame.assign(timescale=half * (1 + unit / 8), **saturated)


def under_noise(half: float) -> pd.DataFrame:
    """The lag up to which the network remembers falls as 1 / (1 + 8 σ)."""
    frames = [recall(half / (1 + 8 * sigma)).assign(sigma=sigma) for sigma in (0.0, 0.25, 0.5)]
    return pd.concat(frames, ignore_index=True)


MADE = {
    "recall_by_lag": recall,
    "lyapunov": exponents,
    "memory_capacity": capacities,
    "state_decoding": decoded,
    "effective_context": contexts,
    "gate_timescales": timescales,
    "state_noise": under_noise,
}
assert set(MADE) | {"gradient_flow"} == set(PROBES)
assert {model for _, model in HALF} == set(MODELS)
