"""Predict the memory horizon on tasks left out, by a regression that knows censored horizons.

ln horizon = b₀ + Σ b_i x_i + σ noise, with normal noise [tobin1958]. A horizon beyond the longest
lag has the likelihood of all longer horizons, and a horizon below the shortest lag that of all
shorter ones. The inputs x are standardised ln(1 + quantity). The likelihood has a ridge penalty on
the b_i, chosen by leaving out one task of the training tasks at a time, or one cell if there is one
task. A missing quantity is replaced by its median over the training tasks, and an indicator of
missing values is added to the inputs. An infinite value is replaced by the largest finite one in
the training tasks.
"""

import math
from typing import Self

import numpy as np
import pandas as pd
from scipy import optimize, special
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lookback.summarise.seed_intervals import Numbers

PENALTIES = (0.1, 1.0, 10.0, 100.0)
LEAST_NOISE = 0.02  # σ is at least this, so that a perfect fit keeps a finite likelihood
HALF_LOG = 0.5 * math.log(2 * math.pi)


class CensoredRegression:
    """A ridge regression of ln horizon on standardised inputs, fitted by maximum likelihood."""

    def __init__(self, penalty: float):
        self.penalty = penalty

    def fit(self, inputs: pd.DataFrame, cells: pd.DataFrame) -> Self:
        """Fit the rows of `inputs` to the columns horizon, horizon_censored and horizon_below."""
        self.largest = inputs.replace(math.inf, math.nan).max()
        self.scaler = make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
        )
        x = self.scaler.fit_transform(self._finite(inputs))
        y = log_horizon(cells)
        start = np.zeros(x.shape[1] + 2)
        start[0], start[-1] = y.mean(), math.log(max(y.std(), LEAST_NOISE))
        limits = [(None, None)] * (len(start) - 1) + [(math.log(LEAST_NOISE), None)]
        found = optimize.minimize(
            self._loss, start, (x, y, cells), jac=True, method="L-BFGS-B", bounds=limits
        )
        self.parameters = found.x
        return self

    def predict(self, inputs: pd.DataFrame) -> Numbers:
        """The median of ln horizon for the rows of `inputs`."""
        x = self.scaler.transform(self._finite(inputs))
        predicted: Numbers = self.parameters[0] + x @ self.parameters[1:-1]
        return predicted

    def misfit(self, inputs: pd.DataFrame, cells: pd.DataFrame) -> float:
        """The negative log-likelihood of the horizons of `cells`, without the penalty."""
        x = self.scaler.transform(self._finite(inputs))
        return float(likelihood(self.parameters, x, cells)[0].sum())

    def _loss(
        self, parameters: Numbers, x: Numbers, y: Numbers, cells: pd.DataFrame
    ) -> tuple[float, Numbers]:
        losses, by_mean, by_noise = likelihood(parameters, x, cells)
        slopes = parameters[1:-1]
        gradient = [by_mean.sum(), *(x.T @ by_mean + self.penalty * slopes), by_noise.sum()]
        return float(losses.sum() + self.penalty * (slopes @ slopes) / 2), np.array(gradient)

    def _finite(self, inputs: pd.DataFrame) -> pd.DataFrame:
        return inputs.mask(inputs == math.inf, self.largest, axis=1)


def likelihood(
    parameters: Numbers, x: Numbers, cells: pd.DataFrame
) -> tuple[Numbers, Numbers, Numbers]:
    """The negative log-likelihood of each horizon, and its derivatives by the mean and by ln σ."""
    noise = math.exp(parameters[-1])
    z = (log_horizon(cells) - parameters[0] - x @ parameters[1:-1]) / noise
    censored, below = (cells[name].to_numpy(bool) for name in ("horizon_censored", "horizon_below"))
    sign = np.where(censored, -1.0, 1.0)
    tail = -special.log_ndtr(sign * z)
    tail_slope = -sign * np.exp(-(z**2) / 2 - HALF_LOG + tail)
    is_bound = censored | below
    losses = np.where(is_bound, tail, z**2 / 2 + parameters[-1] + HALF_LOG)
    by_z = np.where(is_bound, tail_slope, z)
    return losses, -by_z / noise, -z * by_z + ~is_bound


def log_horizon(cells: pd.DataFrame) -> Numbers:
    """Ln horizon, where a horizon below one step counts as one step."""
    logs: Numbers = np.log(cells["horizon"].clip(lower=1)).to_numpy(np.float64)
    return logs


def predict_left_out(inputs: pd.DataFrame, cells: pd.DataFrame, fewest: int) -> Numbers:
    """The horizon of each cell, predicted from the cells of all other tasks, in steps.

    The prediction is NaN if the other tasks have fewer than `fewest` cells, or no input.
    """
    predicted = np.full(len(cells), math.nan)
    for task in cells["task"].unique():
        test = (cells["task"] == task).to_numpy()
        is_known = np.isfinite(inputs[~test]).any()
        if (~test).sum() >= fewest and is_known.any():
            train, rows = inputs.loc[~test, is_known], cells[~test]
            model = CensoredRegression(chosen_penalty(train, rows)).fit(train, rows)
            predicted[test] = np.exp(model.predict(inputs.loc[test, is_known]).clip(max=50))
    return predicted


def chosen_penalty(inputs: pd.DataFrame, cells: pd.DataFrame) -> float:
    """The penalty with the best likelihood on one task left out at a time.

    Of a single task, one cell is left out at a time.
    """
    is_one_task = cells["task"].nunique() < 2
    groups = cells.index.to_series() if is_one_task else cells["task"].astype(str)
    misfits = []
    for penalty in PENALTIES:
        misfit = 0.0
        for group in groups.unique():
            test = (groups == group).to_numpy()
            columns = np.isfinite(inputs[~test]).any()
            if columns.any():
                train = inputs.loc[~test, columns]
                model = CensoredRegression(penalty).fit(train, cells[~test])
                misfit += model.misfit(inputs.loc[test, columns], cells[test])
        misfits.append(misfit)
    return PENALTIES[int(np.argmin(misfits))]
