"""Delayed recall: the distribution of the lags."""

import torch

from lookback.data.delayed_recall import DelayedRecall


def test_lags_of_delayed_recall_are_log_uniform():
    task = DelayedRecall(
        length=40,
        symbols=3,
        longest_lag=32,
        train=1,
        validation=0,
        test=20_000,
        seed=0,
        fresh=False,
    )
    shares = task.dataset("test").lag.flatten().bincount(minlength=33)[1:] / 20_000
    odds = torch.tensor([1 / lag for lag in range(1, 33)])
    torch.testing.assert_close(shares, odds / odds.sum(), atol=0.01, rtol=0)
