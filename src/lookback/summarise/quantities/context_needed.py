"""From probe `effective_context`: how many of the last steps the model needs."""

import math

import pandas as pd

from lookback.summarise.quantities.base import Estimate

NOISE = 0.05  # a skill below this counts as no skill, of which no share can be kept
KEPT = 0.95  # the share of the whole skill that counts as enough


def context_needed(rows: pd.DataFrame) -> Estimate:
    """The fewest last steps that give KEPT of the skill with the whole sequence, in steps.

    Of the curve's mean over seeds. NaN if the skill with the whole sequence is below NOISE.
    """
    curve = rows.groupby("context")["skill"].mean()
    whole = curve.iloc[-1]
    return Estimate(float(curve.index[curve >= KEPT * whole][0]) if whole >= NOISE else math.nan)
