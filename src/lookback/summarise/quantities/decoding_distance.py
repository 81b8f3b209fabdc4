"""From probe `state_decoding`: how long a linear read-out finds the evidence in the state."""

import pandas as pd

from lookback.summarise.quantities.base import Estimate

NOISE = 0.05  # selectivity below this counts as zero


def decoding_distance(rows: pd.DataFrame) -> Estimate:
    """The last distance up to which the selectivity stays above half of its value at the evidence.

    Selectivity is the R² of the read-out minus the R² of its control task, mean over seeds
    [hewitt2019]. The distance is 0 if the selectivity at the evidence is below NOISE. It is
    censored if the selectivity is above one half at all distances measured.
    """
    selectivity = (rows["skill"] - rows["control"]).groupby(rows["distance"]).mean()
    if selectivity.iloc[0] < NOISE:
        return Estimate(0.0)
    is_kept = (selectivity > selectivity.iloc[0] / 2).cummin()
    return Estimate(float(is_kept.index[is_kept][-1]), censored=bool(is_kept.all()))
