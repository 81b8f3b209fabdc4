"""Associative recall: the distribution of the gaps, and the tokens between the queries."""

import numpy as np
import torch

from lookback.data.associative_recall import AssociativeRecall
from tests.data.definitions import CASES, SIZES


def test_gaps_of_associative_recall_follow_the_power_law():
    """The first pair's gap is drawn freely: P(g) ∝ (g + 1)^(power − 1)."""
    for power in (0.01, 1.0):
        settings = CASES["associative_recall"].settings | {"power": power}
        task = AssociativeRecall(
            **settings, train=1, validation=0, test=20_000, seed=0, fresh=False
        )
        shares = ((task.dataset("test").query[:, 0] - 6) // 2).bincount(minlength=6) / 20_000
        odds = torch.tensor([(gap + 1) ** (power - 1) for gap in range(6)])
        torch.testing.assert_close(shares, odds / odds.sum(), atol=0.015, rtol=0)


def test_random_non_queries_fill_the_blanks_and_change_no_answer():
    settings = CASES["associative_recall"].settings
    blank, filled = (
        AssociativeRecall(**settings | SIZES | {"random_non_queries": choice}).draw(
            500, np.random.default_rng(0)
        )
        for choice in (False, True)
    )
    kept = torch.zeros(500, 19, dtype=torch.bool)
    kept[:, :6] = True
    kept.scatter_(1, filled.query, True)
    assert filled.inputs[~kept].unique().tolist() == list(range(14))
    for row, query, target in zip(filled.inputs, filled.query, filled.target, strict=True):
        context = row[:6].tolist()
        assert [context[context.index(key) + 1] for key in row[query].tolist()] == target.tolist()
    assert (blank.inputs[:, 6:] == 0).sum() == 500 * (13 - 3)
