"""Trivial baselines against the dummy estimators of scikit-learn."""

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, mean_squared_error

from lookback.data.baselines import asked_targets, mean_of_targets, most_frequent_class
from lookback.data.batch import SequenceDataset
from tests.data.definitions import CASES


def accuracy_of_dummy(train, test):
    dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((len(train), 1)), train)
    return accuracy_score(test, dummy.predict(np.zeros((len(test), 1))))


def error_of_dummy(train, test):
    dummy = DummyRegressor(strategy="mean").fit(np.zeros((len(train), 1)), train)
    return mean_squared_error(test, dummy.predict(np.zeros((len(test), 1))))


@pytest.mark.parametrize("seed", range(5))
def test_the_most_frequent_class_scores_like_the_dummy_classifier(seed):
    generator = np.random.default_rng(seed)
    train, test = generator.integers(0, 4, 31), generator.integers(0, 6, 17)
    baseline = most_frequent_class(torch.from_numpy(train), torch.from_numpy(test))
    assert baseline.score == accuracy_of_dummy(train, test)
    assert (baseline.name, baseline.metric) == ("most frequent class", "accuracy")


def test_the_smallest_of_equally_frequent_classes_is_the_answer():
    train, test = np.array([3, 1, 1, 3, 2]), np.array([1, 3, 3])
    baseline = most_frequent_class(torch.from_numpy(train), torch.from_numpy(test))
    assert baseline.score == accuracy_of_dummy(train, test) == 1 / 3


@pytest.mark.parametrize("values", [1, 3])
def test_the_mean_of_the_targets_scores_like_the_dummy_regressor(values):
    generator = np.random.default_rng(values)
    train, test = (generator.normal(5, 1, (rows, values)).astype(np.float32) for rows in (31, 17))
    baseline = mean_of_targets(torch.from_numpy(train), torch.from_numpy(test))
    expected = error_of_dummy(train.astype(float), test.astype(float))
    assert baseline.score == pytest.approx(expected, rel=1e-12)
    assert (baseline.name, baseline.metric) == ("mean of the targets", "mse")


def test_padding_queries_have_no_target():
    data = SequenceDataset(
        inputs=torch.zeros(2, 3, dtype=torch.long),
        lengths=torch.tensor([3, 2]),
        query=torch.tensor([[0, 2], [1, -1]]),
        target=torch.tensor([[5, 6], [7, 0]]),
    )
    assert asked_targets(data).tolist() == [5, 6, 7]


@pytest.mark.parametrize("name", CASES)
def test_generated_tasks_have_the_baseline_of_the_dummy(name):
    task = CASES[name].task()
    train, test = (task.dataset(split).target for split in ("train", "test"))
    facts = task.facts()
    if facts.kind == "class":
        expected = accuracy_of_dummy(train.flatten().numpy(), test.flatten().numpy())
    else:
        expected = error_of_dummy(
            *(split.flatten(0, 1).double().numpy() for split in (train, test))
        )
    assert facts.baseline == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["digits_rows", "digits_pixels", "padded_digits"])
def test_digits_have_the_baseline_of_the_dummy(name, fetched, config):
    fetched("digits")
    task = instantiate(config(f"task={name}"))
    train, test = (task.dataset(split).target.flatten().numpy() for split in ("train", "test"))
    assert task.facts().baseline == accuracy_of_dummy(train, test)
