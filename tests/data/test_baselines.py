"""Baselines against the dummy estimators of scikit-learn, and shortcuts against plain counts."""

import math
from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, mean_squared_error

from lookback.data.baselines import asked_targets, mean_of_targets, most_frequent_class
from lookback.data.batch import SequenceDataset
from tests.data.definitions import CASES, SIZES


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
    constant = "most frequent class" if facts.kind == "class" else "mean of the targets"
    assert facts.baselines[constant] == pytest.approx(expected, rel=1e-12)


def mode(symbols):
    """The most frequent symbol, and of equally frequent ones the smallest."""
    return max(sorted(set(symbols)), key=list(symbols).count)


def counted(name, settings, train, test):
    """The shortcut's answers to the queries of each test sequence, one after the other.

    `train` and `test` hold pairs of a sequence and its targets, as lists.
    """
    if name == "adding":
        return [[2 * sum(value for value, _ in s) / len(s)] for s, _ in test]
    if name == "associative_recall":
        return [[s[2 * settings["pairs"] - 1]] * settings["pairs"] for s, _ in test]
    if name == "copy":
        return [[mode(s[: settings["items"]])] * settings["items"] for s, _ in test]
    if name == "selective_copy":
        symbols = range(1, settings["symbols"] + 1)
        return [[mode([t for t in s if t in symbols]) - 1] * settings["items"] for s, _ in test]
    if name == "delayed_recall":
        return [[mode([step[:-1].index(1) for step in s])] for s, _ in test]
    if name.startswith("temporal_order"):
        return [by_feature(lambda s: sum(step[7] for step in s), train, s) for s, _ in test]
    if name == "listops":
        return [by_feature(lambda s: s[0], train, s) for s, _ in test]
    if name == "memory_function":
        weights = [math.exp(-step / settings["strength"]) for step in range(settings["window"])]
        own = 1 / math.sqrt(sum(weight**2 for weight in weights))
        return [
            [own * s[step][0] for step in range(settings["window"] - 1, len(s))] for s, _ in test
        ]
    if name == "back_recall":
        first, symbols = max(settings["lags"]), settings["symbols"]
        words = [[step[:symbols].index(1) for step in s] for s, _ in test]
        return [[mode(word[: step + 1]) for step in range(first, len(word))] for word in words]
    return None


def by_feature(feature, train, sequence):
    """The most frequent target of the train sequences with the same feature."""
    return [mode([targets[0] for s, targets in train if feature(s) == feature(sequence)])]


@pytest.mark.parametrize("name", CASES)
def test_a_shortcut_scores_as_counted_one_answer_after_the_other(name):
    case = CASES[name]
    task = case.task(train=200, test=100)
    listed = []
    for split in ("train", "test"):
        batch = task.dataset(split).batch(slice(None))
        rows = zip(batch.inputs, batch.lengths, batch.target, strict=True)
        listed.append([(s[:n].tolist(), right.flatten().tolist()) for s, n, right in rows])
    answers, facts = counted(name, case.settings, *listed), task.facts()
    if answers is None:
        assert len(facts.baselines) == 1
        return
    pairs = [
        (given, right)
        for row, (_, targets) in zip(answers, listed[1], strict=True)
        for given, right in zip(row, targets, strict=True)
    ]
    if facts.kind == "class":
        score = sum(given == right for given, right in pairs) / len(pairs)
        assert facts.baseline == max(facts.baselines.values())
    else:
        score = sum((given - right) ** 2 for given, right in pairs) / len(pairs)
        assert facts.baseline == min(facts.baselines.values())
    (shortcut,) = facts.baselines.keys() - {"mean of the targets", "most frequent class"}
    assert facts.baselines[shortcut] == pytest.approx(score, rel=1e-5)


def most_frequent_share(items, symbols):
    """The mean share of the most frequent symbol among `items` random symbols, over all draws."""
    shares = Counter(max(map(draw.count, draw)) for draw in product(range(symbols), repeat=items))
    return float(sum(Fraction(n * most, items) for most, n in shares.items()) / symbols**items)


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("associative_recall", {}, 1 / 3),  # one of three values
        ("copy", {"test": 400}, most_frequent_share(5, 4)),
        ("selective_copy", {}, most_frequent_share(5, 4)),
        ("temporal_order", {}, 3 / 4),  # XX and YY for sure, and one of XY and YX
        ("temporal_order_of_three", {}, 1 / 2),  # a class of each number of marks Y
        ("adding", {"length": 20}, (1 - 2 / 20) / 6),
        (
            "delayed_recall",
            {"symbols": 2, "length": 11, "test": 1000},
            most_frequent_share(11, 2),
        ),
    ],
)
def test_a_shortcut_has_the_score_of_its_closed_form(name, changes, expected):
    changes = {"train": 50, "test": 4000, "length": 40} | changes
    task = CASES[name].make(**CASES[name].settings | SIZES | changes)
    assert task.facts().baseline == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ["digits_rows", "digits_pixels", "padded_digits"])
def test_digits_have_the_baseline_of_the_dummy(name, fetched, config):
    fetched("digits")
    task = instantiate(config(f"task={name}"))
    train, test = (task.dataset(split).target.flatten().numpy() for split in ("train", "test"))
    assert task.facts().baseline == accuracy_of_dummy(train, test)
