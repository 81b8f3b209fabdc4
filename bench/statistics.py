"""Checks by simulation that intervals hold the truth, and how often chance names a winner.

The tests run small versions of the same simulations. The bars stand beside each figure.

    python bench/statistics.py [studies]      (default: 1000)

Prints one line per case. Writes bench/results/statistics.json with machine and commit. The horizons
and the theory use one fifth of the studies.
"""

import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
from writing import write

from lookback.summarise import concordance
from lookback.summarise.crossed_intervals import compare, crossed_interval, paired_winner
from lookback.summarise.memory_card import CARD
from lookback.summarise.quantities.memory_horizon import memory_horizon
from lookback.summarise.seed_intervals import Numbers

SEQUENCES = 400
EXPLAINED = 64
SEEDS = (3, 5, 10)
LONGEST = 210
BASELINE = 0.125  # accuracy of the trivial answer in the simulated recall
CURVES = {  # name: (skill by lag, where it is one half)
    "steep": (lambda lag: 1 / (1 + (lag / 50) ** 8), 50.0),
    "middle": (lambda lag: 1 / (1 + (lag / 50) ** 2), 50.0),
    "slow": (
        lambda lag: (0.62 - 0.17 * np.log(lag) / np.log(LONGEST)).clip(0, 1),
        LONGEST ** (0.12 / 0.17),
    ),
}


def answers(generator: np.random.Generator, seeds: int, spread: float, shared: Numbers) -> Numbers:
    """Right or wrong answers (seed, sequence), whose chances are sums of logits."""
    chance = special.expit(1.5 + generator.normal(0, spread, (seeds, 1)) + shared)
    return (generator.random(chance.shape) < chance).astype(np.float64)


def coverage(seeds: int, spread: float, difficulty: float, studies: int) -> float:
    """The share of intervals of an accuracy that hold the mean over all seeds and sequences."""
    generator, held = np.random.default_rng(seeds), 0
    wide = np.hypot(spread, difficulty)
    truth = special.expit(1.5 + generator.normal(0, wide, 2_000_000)).mean()
    for _ in range(studies):
        shared = generator.normal(0, difficulty, (1, SEQUENCES))
        found = crossed_interval(answers(generator, seeds, spread, shared), "accuracy")
        held += found.low <= truth <= found.high
    return held / studies


def false_winners(models: int, seeds: int, studies: int) -> float:
    """How often one of some equal models is named best."""
    generator, named = np.random.default_rng(models), 0
    for _ in range(studies):
        shared = generator.normal(0, 1, (1, SEQUENCES))
        tables = {str(m): answers(generator, seeds, 0.5, shared) for m in range(models)}
        named += not compare(tables, "accuracy", "higher").close
    return named / studies


def false_explainers(explainers: int, seeds: int, studies: int) -> float:
    """How often one of some random attributions is named best."""
    generator, named = np.random.default_rng(explainers), 0
    names = [str(number) for number in range(explainers)]
    levels = (range(seeds), range(EXPLAINED))
    rows = pd.MultiIndex.from_product(levels, names=["seed", "sequence"])
    for _ in range(studies):
        drawn = generator.normal(0.5, 0.02, (seeds, 1, explainers))
        drawn = drawn + generator.normal(0, 0.2, (seeds, EXPLAINED, explainers))
        named += paired_winner(pd.DataFrame(drawn.reshape(-1, explainers), rows, names)) is not None
    return named / studies


def horizons(curve: str, seeds: int, spread: float, studies: int) -> dict[str, float]:
    """How often the interval of the horizon holds the truth, and the median horizon."""
    skill_at, truth = CURVES[curve]
    generator, held, values = np.random.default_rng(seeds), 0, []
    for _ in range(studies):
        found = memory_horizon(recall(generator, skill_at, seeds, spread))
        held += found.low <= truth <= found.high
        values.append(found.value)
    return {"coverage": held / studies, "median": float(np.median(values)), "truth": truth}


def recall(
    generator: np.random.Generator,
    skill_at: Callable[[Numbers], Numbers],
    seeds: int,
    spread: float,
) -> pd.DataFrame:
    """Answers of seeds to the same 1,000 sequences, with lags drawn evenly in ln lag."""
    odds = 1 / np.arange(1, LONGEST + 1)
    lag = generator.choice(np.arange(1, LONGEST + 1), size=1000, p=odds / odds.sum())
    frames = []
    for seed in range(seeds):
        chance = skill_at(lag * np.exp(generator.normal(0, spread))) * (1 - BASELINE) + BASELINE
        skill = ((generator.random(1000) < chance) - BASELINE) / (1 - BASELINE)
        columns = {"seed": seed, "sequence": np.arange(1000), "lag": lag, "skill": skill}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def null_of_theory(task_spread: float, studies: int) -> float:
    """How often p is below 0.05 for a figure that says nothing within a task."""
    generator, hits = np.random.default_rng(0), 0
    cells = pd.DataFrame(itertools.product("abc", range(8)), columns=["task", "model"])
    cells = cells.reindex(columns=list(CARD))
    for _ in range(studies):
        shift = task_spread * np.repeat(generator.normal(size=3), 8)
        horizon = np.exp(3 + shift + generator.normal(size=24))
        figure = np.exp(2 + shift + generator.normal(size=24))
        bounds = {"horizon_censored": horizon > 60, "horizon_below": horizon < 4}
        frame = cells.assign(horizon=horizon.clip(4, 60), capacity=figure, **bounds)
        hits += concordance.agreement(frame, "capacity").p < 0.05
    return hits / studies


def main(studies: int) -> None:
    """Run all simulations, print their figures and write them."""
    rows: list[dict[str, Any]] = []

    def add(bar: str, **figures: Any) -> None:
        rows.append(figures | {"bar": bar})
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)

    for spread, difficulty, bar in (
        (0.0, 3.0, "0.93 to 0.98"),
        (0.5, 3.0, "0.93 to 0.98"),
        (0.3, 0.3, "0.93 to 0.98"),
        (1.0, 1.0, "0.90 to 0.98"),
        (1.0, 3.0, "0.90 to 0.98"),
    ):
        for seeds in SEEDS:
            held = coverage(seeds, spread, difficulty, studies)
            case = {"seeds": seeds, "seed_sd": spread, "sequence_sd": difficulty}
            add(bar, what="coverage of an accuracy", **case, coverage=held)
    for models, seeds in itertools.product((2, 5), (3, 5)):
        share = false_winners(models, seeds, studies)
        add("at most 0.05", what="false best model", models=models, seeds=seeds, share=share)
        share = false_explainers(models, seeds, studies)
        add(
            "at most 0.05", what="false best explainer", explainers=models, seeds=seeds, share=share
        )
    for curve, seeds, spread in itertools.product(CURVES, (3, 5), (0.0, 0.3)):
        found = horizons(curve, seeds, spread, studies // 5)
        case = {"curve": curve, "seeds": seeds, "seed_sd_of_ln_lag": spread}
        add("0.93 to 0.97", what="coverage of a horizon", **case, **found)
    concordance.RESAMPLES = 499
    for spread in (0.0, 1.0, 2.0):
        share = null_of_theory(spread, studies)
        add("0.04 to 0.06", what="p below 0.05 by chance", task_sd=spread, share=share)
    write("statistics", studies=studies, rows=rows)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
