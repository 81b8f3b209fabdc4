"""Frequencies in the grammar of ListOps."""

import numpy as np
import pytest

from lookback.data.listops import ListOps
from lookback.errors import UserError
from tests.data.definitions import CASES, SIZES


def listops(depth, arguments):
    """20,000 expressions of all lengths up to 1,000 tokens."""
    settings = {"length": 1000, "shortest": 4, "depth": depth, "arguments": arguments}
    task = ListOps(**settings, train=1, validation=0, test=1, seed=0, fresh=False)
    return task.draw(20_000, np.random.default_rng(0))


def test_operators_digits_and_numbers_of_arguments_are_all_alike():
    data = listops(depth=2, arguments=5)
    assert (data.lengths.bincount()[4:] / 20_000 - 1 / 4).abs().max() < 0.015
    assert (data.inputs[:, 0].bincount()[11:] / 20_000 - 1 / 4).abs().max() < 0.015
    digits = data.inputs[(data.inputs >= 1) & (data.inputs <= 10)].bincount()[1:]
    assert (digits / digits.sum() - 1 / 10).abs().max() < 0.01


def test_a_quarter_of_the_nodes_above_the_greatest_depth_are_operators():
    data = listops(depth=3, arguments=4)
    opens = (data.inputs >= 11) & (data.inputs <= 14)
    depth = (opens.long() - (data.inputs == 15).long()).cumsum(1)
    second = (depth == 2) & opens
    digits = (depth == 1) & (data.inputs >= 1) & (data.inputs <= 10)
    assert second.sum() / (second.sum() + digits.sum()) == pytest.approx(0.25, abs=0.01)


def test_listops_lengths_reach_both_bounds():
    settings = CASES["listops"].settings | {"length": 30, "shortest": 28}
    lengths = ListOps(**settings | SIZES).dataset("train").lengths
    assert lengths.unique().tolist() == [28, 29, 30]


def test_expressions_that_are_too_rare_are_a_mistake():
    task = CASES["listops"].task(depth=2, arguments=10, shortest=30)
    with pytest.raises(UserError, match="`arguments`, 0 have 30 to 40 tokens"):
        task.dataset("test")
