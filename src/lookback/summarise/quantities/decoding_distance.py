"""For how many steps a linear read-out finds the evidence in the state (probe `state_decoding`)."""

import pandas as pd

from lookback.summarise.quantities.base import Estimate

NOISE = 0.05  # a selectivity below this value counts as zero


def decoding_distance(rows: pd.DataFrame) -> Estimate:
    """The last distance up to which the selectivity stays above half of its value at the evidence.

    The selectivity is the R² of the linear read-out minus the R² of its control task, averaged over
    seeds [hewitt2019]. The distance is the number of steps since the evidence. The result is 0 if
    the selectivity at the evidence is below `NOISE`. The result is censored if the selectivity
    never falls to half of its value at the evidence, within the distances that all seeds measured.
    """
    shared = rows.groupby("distance")["seed"].transform("nunique") == rows["seed"].nunique()
    rows = rows[shared]
    selectivity = (rows["skill"] - rows["control"]).groupby(rows["distance"]).mean()
    if selectivity.iloc[0] < NOISE:
        return Estimate(0.0)
    is_kept = (selectivity > selectivity.iloc[0] / 2).cummin()
    return Estimate(float(is_kept.index[is_kept][-1]), censored=bool(is_kept.all()))
