"""Digits against scikit-learn's own reading of the file."""

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from sklearn.datasets import load_digits

from lookback.data.digits import Digits
from lookback.data.task import SPLITS
from lookback.errors import UserError


@pytest.fixture
def task(fetched, config):
    """A shipped task of digits, with changes."""
    fetched("digits")
    return lambda name="digits_rows", **changes: instantiate(config(f"task={name}") | changes)


def labelled(images, labels):
    return sorted((label, image.tobytes()) for image, label in zip(images, labels, strict=True))


def test_the_splits_hold_the_images_of_scikit_learn_each_once(task):
    theirs = load_digits()
    ours = [task().dataset(split) for split in SPLITS]
    images = torch.cat([split.inputs for split in ours]).mul(16).numpy().astype(np.uint8)
    labels = torch.cat([split.target for split in ours]).flatten().tolist()
    assert labelled(images, labels) == labelled(theirs.images.astype(np.uint8), theirs.target)


def test_rows_and_pixels_are_the_same_images_in_the_same_splits(task):
    for split in SPLITS:
        rows, pixels = task().dataset(split), task("digits_pixels").dataset(split)
        assert rows.inputs.shape[1:] == (8, 8)
        assert pixels.inputs.shape[1:] == (64, 1)
        torch.testing.assert_close(rows.inputs.flatten(1), pixels.inputs.flatten(1))
        assert torch.equal(rows.target, pixels.target)
        assert rows.query.unique().tolist() == [7]
        assert pixels.query.unique().tolist() == [63]
        assert pixels.lengths.unique().tolist() == [64]


def test_every_split_holds_the_classes_in_their_proportions(task):
    share = np.bincount(load_digits().target) / 1797
    for split, size in {"train": 1197, "validation": 200, "test": 400}.items():
        counts = task().dataset(split).target.flatten().bincount(minlength=10)
        assert counts.sum() == size
        assert np.abs(counts.numpy() - share * size).max() < 2


def test_another_seed_draws_another_split(task):
    first, again, other = (task(seed=seed).dataset("test").inputs for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_baseline_is_the_most_frequent_class_of_train(task):
    facts = task().facts()
    train, test = (task().dataset(split).target.flatten().tolist() for split in ("train", "test"))
    answer = max(range(10), key=train.count)
    assert facts.baseline == test.count(answer) / 400
    assert (facts.kind, facts.metric, facts.outputs) == ("class", "accuracy", 10)
    assert facts.sizes == {"train": 1197, "validation": 200, "test": 400}


def test_the_scale_of_the_facts_gives_back_the_grey_values(task):
    facts = task().facts()
    values = task().dataset("train").inputs * torch.tensor(facts.scale) + torch.tensor(facts.mean)
    assert values.unique().tolist() == list(range(17))


def test_wrong_settings_are_mistakes(project, fetched):
    settings = {"dataset": {"name": "digits"}, "validation": 200, "test": 400, "seed": 0}
    with pytest.raises(UserError, match=r"order: 'row' is not .* did you mean 'rows'"):
        Digits(**settings, order="row")
    with pytest.raises(UserError, match=r"results/data/digits/manifest\.json"):
        Digits(**settings, order="rows").facts()
    fetched("digits")
    with pytest.raises(UserError, match="train needs at least one image"):
        Digits(**settings | {"test": 1597}, order="rows").facts()
