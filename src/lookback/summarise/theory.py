"""Test whether the theoretical quantities on the memory card predict the memory horizon.

The first test is a rank correlation. Spearman's ρ between each quantity and the horizon is computed
over points, one for each model on each task. The 95 % interval of ρ is from a percentile bootstrap
that resamples the points (one model on one task). The two-sided p-value is from a permutation test,
which is exact if there are few models and tasks. Holm's correction accounts for the number of
quantities [holm1979]. A censored horizon counts as the longest measured lag.

The second test is a prediction. Ridge regression predicts ln(1 + horizon) from the standardised
inputs ln(1 + quantity), with a penalty chosen by leave-one-out cross-validation. The regression is
fitted on all tasks except one and is judged on the task left out. A missing quantity is replaced by
its median over the training tasks, and an indicator of missing values is added to the inputs. A
Lyapunov exponent λ enters the regression as the time −1/λ. An infinite time is replaced by the
longest finite time in the training tasks. The quantity `decoding` is not used, because its read-out
is fitted to the task's own answers.
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lookback.summarise.quantities.registry import QUANTITIES

PREDICTORS = [quantity.name for quantity in QUANTITIES if quantity.role == "theory"]
RANKED = [*PREDICTORS, *(it.name for it in QUANTITIES if it.role == "half behavioural")]
PREDICTED = "predicted"  # the row of the table `theory` for the prediction on left-out tasks
# The prediction on left-out tasks passes the test if it meets BAR_CORRELATION and BAR_ERROR.
BAR_CORRELATION = 0.9
BAR_ERROR = 0.2

THEORY = {"quantity": "str"} | dict.fromkeys(("spearman", "low", "high", "p", "holm"), "float64")
THEORY |= {"cells": "int64", "censored": "int64"}
FAILING = {"task": "str", "model": "str"}
FAILING |= dict.fromkeys(("horizon", "predicted", "error", "constant", "constant_error"), "float64")
FAILING |= {"censored": "bool"}

FEWEST = 4  # minimum number of rows (one model on one task) for a correlation or a prediction
RESAMPLES = 9999
PENALTIES = np.logspace(-4, 3, 15)

Values = NDArray[np.float64]


def theory(card: pd.DataFrame, lags: pd.DataFrame) -> pd.DataFrame:
    """The rank correlation with the horizon, for each measured quantity and for the prediction.

    There is one row per quantity that was measured for at least one model, and one row for the
    prediction of `failing_lags`. The columns are quantity, spearman, low, high, p, holm, cells and
    censored. `cells` is the number of cells with both the quantity and a horizon, and `censored` is
    the number of censored horizons among these cells. The correlation is NaN if `cells` is below
    `FEWEST`, or if all values of the quantity or of the horizon are equal.
    """
    known = card[card["horizon"].notna()]
    measured = [name for name in RANKED if known[name].notna().any()]
    rows = [{"quantity": name} | ranked(known, name, "horizon_censored") for name in measured]
    table = pd.DataFrame(rows, columns=list(THEORY))
    table["holm"] = holm(table["p"].to_numpy(dtype=float))
    # A permutation test would need independent rows, so the prediction gets no p-value.
    # The rows are not independent, because each horizon is used to predict those of other tasks.
    every = {"quantity": PREDICTED} | ranked(lags, PREDICTED, "censored") | {"p": math.nan}
    return pd.DataFrame([*table.to_dict("records"), every], columns=list(THEORY)).astype(THEORY)


def ranked(cells: pd.DataFrame, quantity: str, censored: str) -> dict[str, float]:
    """The rank correlation between a quantity and the horizon, over the rows that have both."""
    cells = cells[cells[quantity].notna()]
    count = {"cells": len(cells), "censored": int(cells[censored].sum())}
    x, y = cells[quantity].to_numpy(dtype=float), cells["horizon"].to_numpy(dtype=float)
    if len(cells) < FEWEST or np.ptp(stats.rankdata(x)) == 0 or np.ptp(stats.rankdata(y)) == 0:
        return dict.fromkeys(("spearman", "low", "high", "p"), math.nan) | count
    draws = np.random.default_rng(0).integers(len(cells), size=(RESAMPLES, len(cells)))
    # If all values of a resample are equal, its correlation is NaN, and nanpercentile ignores it.
    low, high = np.nanpercentile(spearman(x[draws], y[draws]), [2.5, 97.5])
    test = stats.permutation_test(
        (x,),
        lambda shuffled, axis: spearman(shuffled, y, axis),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    spread = {"low": float(low), "high": float(high), "p": float(test.pvalue)}
    return {"spearman": float(spearman(x, y)), **spread, **count}


def spearman(x: Values, y: Values, axis: int = -1) -> Values:
    """Pearson's correlation between the ranks of x and y, with mean ranks for ties.

    The correlation is NaN if x or y is constant.
    """
    ranks = [stats.rankdata(values, axis=axis) for values in (x, y)]
    a, b = (rank - rank.mean(axis=axis, keepdims=True) for rank in ranks)
    size = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(axis=axis) / size)


def holm(p: Values) -> Values:
    """Holm's correction, which multiplies the i-th smallest of m p-values by m − i + 1.

    Corrected p-values are then raised where necessary, so that they increase with the original
    p-values. A p-value that is NaN stays NaN and does not count in m.
    """
    corrected = np.full_like(p, math.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN is sorted to the end
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.maximum.accumulate(p[order] * factors).clip(max=1)
    return corrected


def failing_lags(card: pd.DataFrame) -> pd.DataFrame:
    """Each measured horizon, and its prediction by a regression fitted on all tasks but its own.

    The columns are task, model, horizon, predicted, error (relative), constant, constant_error and
    censored. `constant` predicts the horizon without any quantity, as the geometric mean over the
    other tasks. `predicted` and `constant` are NaN if the other tasks have fewer than FEWEST cells
    with a horizon, or if no cell of the other tasks has a quantity.
    """
    cells = card[card["horizon"].notna()].rename(columns={"horizon_censored": "censored"})
    cells = cells.assign(predicted=math.nan, constant=math.nan)
    inputs, target = features(cells), np.log1p(cells["horizon"])
    for task in cells["task"].unique():
        left_out = cells["task"] == task
        is_known = np.isfinite(inputs[~left_out]).any()
        if (~left_out).sum() < FEWEST or not is_known.any():
            continue
        known = inputs.loc[:, is_known]
        log_horizon = predict(known[~left_out], target[~left_out], known[left_out])
        cells.loc[left_out, "predicted"] = np.expm1(log_horizon.clip(min=0))
        cells.loc[left_out, "constant"] = math.expm1(target[~left_out].mean())
    cells["error"] = relative_error(cells["predicted"], cells)
    cells["constant_error"] = relative_error(cells["constant"], cells)
    return cells[list(FAILING)].reset_index(drop=True).astype(FAILING)


def features(cells: pd.DataFrame) -> pd.DataFrame:
    """The regression inputs ln(1 + quantity), with one column per quantity.

    An infinite time gives an infinite input.
    """
    decays = cells["lyapunov"] < 0
    time = (-1 / cells["lyapunov"].where(decays)).mask(cells["lyapunov"] >= 0, math.inf)
    times = cells[PREDICTORS].assign(lyapunov=time)
    return times.apply(np.log1p)


def predict(train: pd.DataFrame, target: pd.Series, test: pd.DataFrame) -> Values:
    """Predict the target for the rows of `test` by a ridge regression fitted on `train`."""
    longest = train.replace(math.inf, math.nan).max()
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        RidgeCV(alphas=PENALTIES),
    )
    model.fit(made_finite(train, longest), target)
    return np.asarray(model.predict(made_finite(test, longest)))


def made_finite(inputs: pd.DataFrame, longest: pd.Series) -> pd.DataFrame:
    """The inputs, with each infinite value replaced by the value of `longest` for its column."""
    return inputs.mask(inputs == math.inf, longest, axis=1)


def relative_error(predicted: pd.Series, cells: pd.DataFrame) -> pd.Series:
    """The relative error |predicted − horizon| / horizon, for each model on each task.

    In the denominator, a horizon below one step counts as one step. If the horizon is censored, the
    error is 0 for any prediction that is at least the longest measured lag.
    """
    error = (predicted - cells["horizon"]).abs() / cells["horizon"].clip(lower=1)
    return error.mask(cells["censored"] & (predicted >= cells["horizon"]), 0.0)
