"""Noise-padded digits against the images of scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lookback.data.content import digest_of
from lookback.data.task import SPLITS
from lookback.errors import UserError
from lookback.runtime.instantiate import instantiate


@pytest.fixture
def task(fetched, config):
    """The shipped task, with changes."""
    fetched("digits")
    return lambda **changes: instantiate(config("task=padded_digits") | changes)


@pytest.fixture(scope="module")
def known():
    """The digit of each image, by its pixels."""
    theirs = load_digits()
    pairs = zip(theirs.images.astype(np.uint8), theirs.target, strict=True)
    return {image.tobytes(): digit for image, digit in pairs}


def test_the_first_rows_are_the_digit_and_decide_it_whatever_the_noise(task, known):
    seen = []
    for split in SPLITS:
        batch = task(length=13).dataset(split).batch(slice(None), evidence=True)
        assert batch.inputs.shape[1:] == (13, 8)
        assert batch.lengths.unique().tolist() == [13]
        assert batch.query.unique().tolist() == batch.lag.unique().tolist() == [12]
        assert batch.evidence.shape == (len(batch.inputs), 1, 13)
        assert (batch.evidence == torch.tensor([True] * 8 + [False] * 5)).all()
        shown = batch.inputs[batch.evidence[:, 0]].view(-1, 64)
        images = [row.mul(16).numpy().astype(np.uint8).tobytes() for row in shown]
        assert batch.target.flatten().tolist() == [known[image] for image in images]
        seen += images
    assert len(set(seen)) == len(seen) == 1797


def test_the_noise_is_standard_normal_and_nowhere_the_same(task):
    noise = [task(length=80).dataset(split).inputs[:, 8:].flatten(1) for split in SPLITS]
    rows = torch.cat(noise).double()
    assert len(rows.unique(dim=0)) == 1797
    assert rows.mean().item() == pytest.approx(0, abs=0.005)
    assert rows.std().item() == pytest.approx(1, abs=0.005)
    assert rows.pow(4).mean().item() == pytest.approx(3, abs=0.05)


def test_a_seed_says_everything(task):
    first, again, other = (task(seed=seed, length=20).dataset("test") for seed in (0, 0, 1))
    assert digest_of(first) == digest_of(again) != digest_of(other)


def test_the_facts_are_those_of_the_digits_at_this_length(task, config):
    facts, digits = task().facts(), instantiate(config("task=digits_rows")).facts()
    assert facts.length == 100
    assert (facts.features, facts.outputs, facts.baseline) == (8, 10, digits.baseline)
    assert facts.sizes == digits.sizes
    assert facts.optimum is None


def test_a_length_without_room_for_the_digit_is_a_mistake(config):
    with pytest.raises(UserError, match=r"length: 7 steps .* make it 8 or more"):
        instantiate(config("task=padded_digits") | {"length": 7})
