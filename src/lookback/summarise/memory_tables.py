"""The tables on memory: the memory card, and how well theory predicts the memory horizon."""

from collections.abc import Mapping

import pandas as pd

from lookback.summarise.memory_card import memory_card
from lookback.summarise.quantities.registry import PROBES
from lookback.summarise.theory import failing_lags, theory, theory_map


def memory(results: pd.DataFrame, probes: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The memory card, and the tables that show how well theory predicts the memory horizon.

    No table is returned if the study has no probe that the memory card uses.
    """
    if not PROBES & probes.keys():
        return {}
    card = memory_card(results, probes)
    if "recall_by_lag" not in probes:
        return {"memory_card": card}
    lags = failing_lags(card)
    table = theory(card, lags, seed_halves(results, probes))
    return {
        "memory_card": card,
        "theory": table,
        "theory_map": theory_map(card),
        "failing_lag": lags,
    }


def seed_halves(results: pd.DataFrame, probes: Mapping[str, pd.DataFrame]) -> list[pd.DataFrame]:
    """Two memory cards, each with quantities and horizons from different halves of the seeds.

    The first card has the quantities of one half and the horizons of the other half. The second
    card has them the other way round.

    The list is empty if there are fewer than two seeds.
    """
    seeds = sorted({int(seed) for frame in probes.values() for seed in frame["seed"].unique()})
    if len(seeds) < 2:
        return []
    cards = [
        memory_card(
            results,
            {name: frame[frame["seed"].isin(half)] for name, frame in probes.items()},
        )
        for half in (seeds[::2], seeds[1::2])
    ]
    horizons = ["horizon", "horizon_censored", "horizon_below"]
    return [
        of.assign(**{name: other[name] for name in horizons}) for of, other in (cards, cards[::-1])
    ]
