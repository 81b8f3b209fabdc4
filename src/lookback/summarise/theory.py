"""Do the theory's numbers predict the behaviour? From the memory card: each alone, and together.

Ranks: Spearman's ρ over cells between a figure and the horizon (the failing lag: where recall is
one half), its 95 % percentile bootstrap interval over cells, and the two-sided p of a permutation
test, exact where the cells are few, with Holm's correction over the figures (Holm 1979). A cell
whose horizon lies past the longest lag tried is censored: it counts as that lag, so such cells tie.

Prediction: ridge regression of ln(1 + horizon) on ln(1 + figure), standardised, the penalty chosen
by leave-one-out; fitted on all tasks but one, judged on that one. A missing figure is the training
cells' median, with an indicator; an exponent enters as its time −1/λ; a time without end is as long
as the longest of the training cells. `decoding` stays out: it is read with the task's own answers.
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

PREDICTORS = ["half_distance_trained", "half_distance_initial", "lyapunov", "capacity", "timescale"]
FIGURES = [*PREDICTORS, "decoding"]
PREDICTED = "predicted"  # the row of `theory` on what is predicted for the tasks left out

THEORY = {"figure": "str"} | dict.fromkeys(("spearman", "low", "high", "p", "holm"), "float64")
THEORY |= {"cells": "int64", "censored": "int64"}
FAILING = {"task": "str", "model": "str"}
FAILING |= dict.fromkeys(("horizon", "predicted", "error", "constant", "constant_error"), "float64")
FAILING |= {"censored": "bool"}

FEWEST = 4  # cells, under which nothing is said
RESAMPLES = 9999
PENALTIES = np.logspace(-4, 3, 15)

Values = NDArray[np.float64]


def theory(card: pd.DataFrame, lags: pd.DataFrame) -> pd.DataFrame:
    """One row a figure that any cell has, and one on what `failing_lags` predicted.

    Columns: figure, spearman, low, high, p, holm, cells, censored (of those cells). NaN where fewer
    than FEWEST cells have both, or where one of the two never differs.
    """
    known = card[card["horizon"].notna()]
    there = [figure for figure in FIGURES if known[figure].notna().any()]
    rows = [{"figure": figure} | ranked(known, figure, "horizon_censored") for figure in there]
    table = pd.DataFrame(rows, columns=list(THEORY))
    table["holm"] = holm(table["p"].to_numpy(dtype=float))
    # No p: what is predicted for a cell depends on the others, which a permutation would ignore.
    every = {"figure": PREDICTED} | ranked(lags, PREDICTED, "censored") | {"p": math.nan}
    return pd.DataFrame([*table.to_dict("records"), every], columns=list(THEORY)).astype(THEORY)


def ranked(cells: pd.DataFrame, figure: str, censored: str) -> dict[str, float]:
    """How well a figure ranks the horizon, over the cells that have it."""
    own = cells[cells[figure].notna()]
    count = {"cells": len(own), "censored": int(own[censored].sum())}
    x, y = own[figure].to_numpy(dtype=float), own["horizon"].to_numpy(dtype=float)
    if len(own) < FEWEST or np.ptp(stats.rankdata(x)) == 0 or np.ptp(stats.rankdata(y)) == 0:
        return dict.fromkeys(("spearman", "low", "high", "p"), math.nan) | count
    draws = np.random.default_rng(0).integers(len(own), size=(RESAMPLES, len(own)))
    # A resample of cells that are all alike has no correlation, and is left out.
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
    """Pearson's correlation of the ranks, ties sharing theirs; NaN where one never differs."""
    ranks = [stats.rankdata(values, axis=axis) for values in (x, y)]
    a, b = (rank - rank.mean(axis=axis, keepdims=True) for rank in ranks)
    size = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(axis=axis) / size)


def holm(p: Values) -> Values:
    """Holm's correction: the i-th smallest of m is multiplied by m − i + 1, and never falls.

    What is NaN was not tested and does not count.
    """
    corrected = np.full_like(p, math.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN is sorted to the end
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.maximum.accumulate(p[order] * factors).clip(max=1)
    return corrected


def failing_lags(card: pd.DataFrame) -> pd.DataFrame:
    """The horizon of each cell that has one, and what the other tasks' cells predict for it.

    Columns: task, model, horizon, predicted, error (relative), constant (the prediction without
    any figure: the geometric mean of the other tasks), constant_error, censored. NaN where fewer
    than FEWEST cells of other tasks are there to learn from, or none has a figure.
    """
    cells = card[card["horizon"].notna()].rename(columns={"horizon_censored": "censored"})
    cells = cells.assign(predicted=math.nan, constant=math.nan)
    figures, target = features(cells), np.log1p(cells["horizon"])
    for task in cells["task"].unique():
        out = cells["task"] == task
        train = np.isfinite(figures[~out]).any()
        if (~out).sum() < FEWEST or not train.any():
            continue
        used = figures.loc[:, train]
        fitted = predict(used[~out], target[~out], used[out])
        cells.loc[out, "predicted"] = np.expm1(fitted.clip(min=0))
        cells.loc[out, "constant"] = math.expm1(target[~out].mean())
    cells["error"] = relative_error(cells["predicted"], cells)
    cells["constant_error"] = relative_error(cells["constant"], cells)
    return cells[list(FAILING)].reset_index(drop=True).astype(FAILING)


def features(cells: pd.DataFrame) -> pd.DataFrame:
    """ln(1 + figure), a column each; infinite where a time has no end."""
    decays = cells["lyapunov"] < 0
    time = (-1 / cells["lyapunov"].where(decays)).mask(cells["lyapunov"] >= 0, math.inf)
    times = cells[PREDICTORS].assign(lyapunov=time)
    return times.apply(np.log1p)


def predict(train: pd.DataFrame, target: pd.Series, test: pd.DataFrame) -> Values:
    """What ridge regression on the training cells gives for the others."""
    longest = train.replace(math.inf, math.nan).max()
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        RidgeCV(alphas=PENALTIES),
    )
    model.fit(ended(train, longest), target)
    return np.asarray(model.predict(ended(test, longest)))


def ended(figures: pd.DataFrame, longest: pd.Series) -> pd.DataFrame:
    """The figures with those that have no end as long as the longest that has one."""
    return figures.mask(figures == math.inf, longest, axis=1)


def relative_error(predicted: pd.Series, cells: pd.DataFrame) -> pd.Series:
    """|predicted − horizon| / horizon, a horizon of 0 counted as one step.

    A censored cell that is predicted past the longest lag tried is right.
    """
    error = (predicted - cells["horizon"]).abs() / cells["horizon"].clip(lower=1)
    return error.mask(cells["censored"] & (predicted >= cells["horizon"]), 0.0)
