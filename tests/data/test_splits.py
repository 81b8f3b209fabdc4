"""Splits against plain Python, numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedShuffleSplit

from lookback.data.splits import (
    random_split,
    require_train,
    split_generators,
    stratified_order,
    stratified_split,
    unseen_rows,
)
from lookback.data.task import SPLITS
from lookback.errors import UserError

LABELS = np.random.default_rng(0).choice(4, 503, p=[0.55, 0.25, 0.15, 0.05])


def test_each_split_has_the_documented_child_of_the_seed():
    """Numpy documents child i of a seed as the sequence with the spawn key (i,)."""
    generators = split_generators(7)
    assert list(generators) == list(SPLITS)
    for number, split in enumerate(SPLITS):
        child = np.random.SeedSequence(7, spawn_key=(number,))
        expected = np.random.default_rng(child).random(5)
        np.testing.assert_array_equal(generators[split].random(5), expected)


@pytest.mark.parametrize("limit", [0, 3, 50])
def test_unseen_rows_are_the_first_ones_that_a_plain_search_finds(limit):
    inputs = np.random.default_rng(1).integers(0, 3, (40, 3))
    earlier = np.random.default_rng(2).integers(0, 3, (5, 3))
    seen: set[bytes] = set()
    unseen_rows(torch.from_numpy(earlier), seen, limit=5)
    known, expected = {tuple(row) for row in earlier.tolist()}, []
    for number, row in enumerate(map(tuple, inputs.tolist())):
        if row not in known and len(expected) < limit:
            known.add(row)
            expected.append(number)
    assert unseen_rows(torch.from_numpy(inputs), seen, limit) == expected
    assert len(seen) == len(known)


def test_a_random_split_is_a_partition_in_which_every_index_is_as_likely():
    generator = np.random.default_rng(3)
    counts = np.zeros(10)
    for _ in range(4000):
        parts = random_split(10, 3, generator)
        assert (len(parts["train"]), len(parts["validation"])) == (7, 3)
        assert sorted(np.concatenate(list(parts.values()))) == list(range(10))
        counts[parts["validation"]] += 1
    # The standard deviation of a share is √(0.3 · 0.7 / 4000) = 0.007.
    assert np.abs(counts / 4000 - 0.3).max() < 0.03


def test_a_stratified_split_is_a_partition_with_the_class_counts_of_scikit_learn():
    parts = stratified_split(LABELS, 101, 203, np.random.default_rng(4))
    sizes = {"train": 199, "validation": 101, "test": 203}
    assert {split: len(part) for split, part in parts.items()} == sizes
    assert sorted(np.concatenate(list(parts.values()))) == list(range(503))
    for split, size in sizes.items():
        theirs = StratifiedShuffleSplit(1, test_size=size, random_state=0)
        _, chosen = next(theirs.split(np.zeros((503, 1)), LABELS))
        ours, expected = (np.bincount(LABELS[rows]) for rows in (parts[split], chosen))
        assert np.abs(ours - expected).max() <= 1


def test_every_part_of_a_stratified_order_has_the_class_proportions():
    ordered = LABELS[stratified_order(LABELS, np.random.default_rng(5))]
    for label, share in enumerate(np.bincount(LABELS) / 503):
        counts = np.concatenate([[0], np.cumsum(ordered == label)])
        for size in (10, 57, 200):
            # A part holds share · size members of a class, up to one at each of its two ends.
            assert np.abs(counts[size:] - counts[:-size] - share * size).max() < 2.5


def test_the_order_within_a_class_is_random():
    orders = {
        tuple(stratified_order(np.zeros(3, dtype=int), np.random.default_rng(seed)))
        for seed in range(100)
    }
    assert len(orders) == 6


def test_a_rare_class_is_spread_over_the_whole_order():
    labels = np.array([0] * 96 + [1] * 4)
    order = stratified_order(labels, np.random.default_rng(0))
    assert sorted(order) == list(range(100))
    assert [labels[quarter].sum() for quarter in np.split(order, 4)] == [1, 1, 1, 1]


def test_the_only_member_of_a_class_is_in_the_middle():
    order = stratified_order(np.array([0] * 100 + [1]), np.random.default_rng(0))
    assert order[50] == 100


@pytest.mark.parametrize("held_out", [{"validation": 4, "test": 6}, {"validation": -1, "test": 3}])
def test_held_out_sizes_that_leave_no_train_split_are_an_error(held_out):
    with pytest.raises(UserError, match=r"digits has 10 images .* their sum 9 or less"):
        require_train("digits", 10, held_out)


def test_one_sequence_is_enough_for_train():
    require_train("digits", 10, {"validation": 0, "test": 9})
