"""How many of the last steps a model needs to answer well (probe `effective_context`)."""

import math

import pandas as pd

from lookback.summarise.quantities.base import Estimate

NOISE = 0.05  # a skill below this value counts as zero
KEPT = 0.95  # the share of the skill on whole sequences that counts as enough


def context_needed(rows: pd.DataFrame) -> Estimate:
    """The smallest number of last steps with which a model keeps nearly all of its skill.

    «Nearly all» is the share `KEPT` of the skill on whole sequences. The skill is averaged over
    seeds. The result is NaN if the skill on whole sequences is below `NOISE`.
    """
    curve = rows.groupby("context")["skill"].mean()
    whole = curve.iloc[-1]
    return Estimate(float(curve.index[curve >= KEPT * whole][0]) if whole >= NOISE else math.nan)
