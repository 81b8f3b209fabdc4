"""Scores and predictions against scikit-learn and scipy, with queries that ask nothing."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

from lookback.data.batch import SequenceDataset
from lookback.data.task import Facts
from lookback.training.evaluate import predictions_of, scores_of

FACTS = Facts("class", False, 2, 6, 5, "accuracy", 0.2, "most frequent class", {"test": 40})


@pytest.fixture
def split() -> SequenceDataset:
    """40 sequences of up to three queries; -1 asks nothing, and then no class is right."""
    generator = torch.Generator().manual_seed(0)
    query = torch.tensor([1, 3, 5]).repeat(40, 1)
    query[::3, 2] = -1
    target = torch.randint(5, (40, 3), generator=generator).masked_fill(query < 0, -1)
    inputs = torch.randn(40, 6, 2, generator=generator)
    return SequenceDataset(inputs, torch.full((40,), 6), query, target)


@pytest.fixture
def answers() -> torch.Tensor:
    return 3 * torch.randn(40, 3, 5, generator=torch.Generator().manual_seed(1))


def test_loss_and_accuracy_are_scikit_learn_s(split, answers):
    asked = split.query >= 0
    wanted, given = split.target[asked].numpy(), answers[asked].double().numpy()
    scores = scores_of(answers, split, FACTS)
    shares = softmax(given, axis=1)
    assert scores.loss == pytest.approx(log_loss(wanted, shares, labels=range(5)), rel=1e-6)
    assert scores.metric == pytest.approx(accuracy_score(wanted, given.argmax(axis=1)))


def test_a_prediction_has_the_probability_of_its_class(split, answers):
    frame = predictions_of(7, answers, split, FACTS)
    asked = split.query >= 0
    shares = softmax(answers[asked].double().numpy(), axis=1)
    assert set(frame["seed"]) == {7}
    np.testing.assert_array_equal(frame["prediction"], shares.argmax(axis=1))
    np.testing.assert_allclose(frame["probability"], shares.max(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(frame["target"], split.target[asked])
