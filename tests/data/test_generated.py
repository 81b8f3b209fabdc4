"""Every generated task against its definition."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from lookback.data.batch import SequenceDataset
from lookback.data.content import digest_of
from lookback.data.generated import distinct, shuffled
from lookback.data.selective_copy import SelectiveCopy
from lookback.data.task import SPLITS
from lookback.errors import UserError
from tests.data.definitions import CASES, SIZES, Case


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_target_query_evidence_and_lag_are_those_of_a_walk_along_the_sequence(case: Case):
    for split in SPLITS:
        data = case.task().dataset(split)
        assert len(data) == SIZES[split]
        hold_against_walk(case, data)


def hold_against_walk(case: Case, data: SequenceDataset) -> None:
    """Assert that targets, queries, evidence and lags equal those of a walk along each sequence."""
    batch = data.batch(slice(None), evidence=True)
    for row, (inputs, length) in enumerate(zip(batch.inputs, batch.lengths, strict=True)):
        answers = case.walk(inputs[:length].tolist(), case.settings)
        assert not inputs[length:].any()
        assert batch.query[row].tolist() == [query for query, _, _ in answers]
        targets = [target for _, target, _ in answers]
        assert batch.target[row].flatten().tolist() == pytest.approx(targets, abs=1e-6)
        for answer, (query, _, evidence) in enumerate(answers):
            assert set(batch.evidence[row, answer].nonzero().flatten().tolist()) == evidence
            assert batch.lag[row, answer] == query - min(evidence)


def test_a_walk_finds_what_is_wrong(case: Case):
    """The walk detects one wrong answer, one wrong lag, and evidence that is one step late."""
    data = case.task().dataset("test")
    evidence, target, lag = data.evidence, data.target.clone(), data.lag.clone()
    target[7, 0] += 1
    lag[7, 0] += 1
    for wrong in (
        {"target": target},
        {"lag": lag},
        {"evidence": lambda inputs: evidence(inputs).roll(1, dims=2)},
    ):
        with pytest.raises(AssertionError):
            hold_against_walk(case, replace(data, **wrong))


def test_a_step_changes_an_answer_only_as_its_evidence(case: Case):
    """Redraw each step of five sequences in all ways that the generator could have drawn it."""
    changed = unchanged = 0
    for inputs, length in zip(*parts(case.task().dataset("test"), 5), strict=True):
        sequence = inputs[:length].tolist()
        before = case.walk(sequence, case.settings)
        for step in range(length):
            for redrawn in case.redraw(sequence, step, case.settings):
                after = case.walk(redrawn, case.settings)
                for (_, old, evidence), (_, new, _) in zip(before, after, strict=True):
                    assert old == new or step in evidence
                    changed += old != new
                    unchanged += step not in evidence
    assert changed
    assert unchanged or len(case.walk(sequence, case.settings)[0][2]) == length


def parts(data, count):
    return data.inputs[:count], data.lengths[:count]


def test_no_sequence_is_in_two_splits_or_twice_in_one(case: Case):
    rows = [row.numpy().tobytes() for split in SPLITS for row in case.task().dataset(split).inputs]
    assert len(set(rows)) == len(rows) == 120


def test_a_seed_says_everything_on_every_machine(case: Case):
    np.random.default_rng(0).random(5)
    torch.manual_seed(5)
    assert digest_of(case.task().dataset("test")) == case.digest
    assert digest_of(case.task(seed=4).dataset("test")) != case.digest
    assert digest_of(case.task(train=5, validation=0).dataset("test")) == case.digest


def test_each_run_draws_its_own_train_and_validation_splits_and_the_same_test_split(case: Case):
    task = case.task(seed="per_run")
    test = digest_of(case.task(seed=0).dataset("test"))
    runs = [task.of_run(seed) for seed in (0, 1, 2)]
    assert {digest_of(run.dataset("test")) for run in runs} == {test}
    for split in ("train", "validation"):
        assert len({digest_of(run.dataset(split)) for run in runs}) == 3
        assert digest_of(runs[0].dataset(split)) == digest_of(case.task(seed=0).dataset(split))
    for run in runs:
        rows = [row.numpy().tobytes() for split in SPLITS for row in run.dataset(split).inputs]
        assert len(set(rows)) == 120


def test_with_a_seed_of_its_own_a_task_is_the_same_for_every_run(case: Case):
    task = case.task()
    assert task.of_run(5) is task
    assert task.drawn_per_run == ()


def test_a_split_is_drawn_once_whatever_else_is_asked(case: Case, monkeypatch):
    counts = []
    task = case.task()
    draw = task.draw
    monkeypatch.setattr(
        task, "draw", lambda count, generator: counts.append(count) or draw(count, generator)
    )
    data = [task.dataset(split) for split in SPLITS]
    task.facts()
    assert [len(split) for split in data] == [60, 20, 40]
    assert set(counts[:3]) == {60, 20, 40}
    twice = len(counts) - 3  # more draws only where sequences were equal
    assert twice == 0 or case.settings["length"] < 14


SHIPPED = [name for name in CASES if "_of_" not in name]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_task_has_its_facts_and_goes_on_at_four_times_the_length(name, config):
    settings = config(f"task={name}") | {"train": 300, "validation": 0, "test": 200}
    facts = instantiate(settings).facts()
    longer = instantiate(settings | {"length": 4 * facts.length}).facts()
    assert (longer.features, longer.outputs) == (facts.features, facts.outputs)
    assert longer.length == 4 * facts.length
    data = instantiate(settings).dataset("test")
    assert facts.tokens == (not data.inputs.is_floating_point())
    assert data.inputs.shape[1] == facts.length
    if facts.tokens:
        assert data.inputs.min() >= 0
        assert data.inputs.max() < facts.features
    else:
        assert data.inputs.shape[2] == facts.features
    assert facts.higher_is_better == (facts.optimum == 1.0)
    assert facts.sizes == {"train": 300, "validation": 0, "test": 200}


def test_sequences_that_came_before_are_drawn_anew_until_every_one_is_found():
    """One of two symbols at one of two steps gives four different sequences."""
    task = SelectiveCopy(length=3, symbols=2, items=1, train=2, validation=1, test=1, seed=0)
    rows = {tuple(r) for split in SPLITS for r in task.dataset(split).inputs.tolist()}
    assert rows == {(1, 0, 3), (2, 0, 3), (0, 1, 3), (0, 2, 3)}


def test_more_sequences_than_there_are_is_a_mistake():
    task = SelectiveCopy(length=3, symbols=2, items=1, train=3, validation=1, test=1, seed=0)
    task.dataset("validation")
    with pytest.raises(
        UserError, match=r"too few different sequences\. Of the 3 of train, 1 could"
    ):
        task.dataset("train")


@pytest.mark.parametrize(("count", "size"), [(0, 3), (1, 1), (2, 5), (3, 3)])
def test_distinct_integers_are_every_set_alike(count, size):
    drawn = distinct(np.random.default_rng(0), 6000, count, size)
    sets, times = np.unique(np.sort(drawn, axis=1), axis=0, return_counts=True)
    assert (np.diff(sets, axis=1) > 0).all()
    assert sets.size == 0 or (sets.min() >= 0 and sets.max() < size)
    assert np.abs(times / 6000 - 1 / len(times)).max() < 0.02
    if (count, size) == (2, 5):
        assert len(times) == 10


def test_shuffled_rows_are_every_order_alike():
    orders = shuffled(np.random.default_rng(0), np.tile([7, 8, 9], (6000, 1)))
    different, times = np.unique(orders, axis=0, return_counts=True)
    assert len(different) == 6
    assert np.abs(times / 6000 - 1 / 6).max() < 0.02


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("delayed_recall", {"longest_lag": 13}, "longest_lag: 13 .* make it 1 to 12"),
        ("delayed_recall", {"longest_lag": 0}, "longest_lag: 0 .* make it 1 to 12"),
        ("delayed_recall", {"length": 8}, "longest_lag: 9 .* or `length` larger"),
        ("delayed_recall", {"symbols": 1}, "symbols: 1 .* make it 2 or more"),
        ("back_recall", {"lags": [1, 13]}, r"lags: \[1, 13\]; .* from 1 to 12, or `length` larger"),
        ("back_recall", {"lags": [0, 1]}, r"lags: \[0, 1\]; .* from 1 to 12"),
        ("back_recall", {"lags": [2, 2]}, r"lags: \[2, 2\]; .* different numbers"),
        ("back_recall", {"symbols": 1}, "symbols: 1 .* make it 2 or more"),
        ("back_value", {"lags": []}, r"lags: \[\]; .* one or more"),
        ("memory_function", {"window": 13}, "window: 13 .* make it 1 to 12"),
        ("memory_function", {"strength": 0.0}, "strength: 0.0; .* above 0"),
        (
            "memory_function_of_impulse",
            {"strength": 7.0},
            "strength: 7.0; .* from 0 to 6, or `window`",
        ),
        ("memory_function", {"function": "impulsive"}, "'impulsive'; choose one of exponential"),
        ("selective_copy", {"items": 0}, "items: 0; .* Make `items` 1 to 8"),
        ("selective_copy", {"items": 9}, "items: 9; .* room for 8"),
        ("selective_copy", {"symbols": 1}, "symbols: 1 .* make it 2 or more"),
        ("associative_recall", {"pairs": 0}, "pairs: 0; .* Make `pairs` 1 to 4"),
        ("associative_recall", {"pairs": 5}, "pairs: 5; .* room for 4"),
        (
            "associative_recall",
            {"vocabulary": 7},
            "vocabulary: 7 .* 2 keys.* Make it 8 or",
        ),
        ("associative_recall", {"power": -1.0}, "power: -1.0; make it 0 or more"),
        ("adding", {"length": 1}, "length: 1 is too short .* make it 2 or more"),
        ("copy", {"items": 0}, "items: 0; .* Make `items` 1 to 8"),
        ("copy", {"items": 9}, "items: 9; .* room for 8"),
        ("copy", {"symbols": 1}, "symbols: 1 .* make it 2 or more"),
        ("temporal_order", {"marks": 4}, "marks: 4; make it 2 .* or 3"),
        ("temporal_order", {"length": 10}, "length: 10 .* make it 11 or more"),
        ("listops", {"depth": 1}, "depth: 1 .* make it 2 or more"),
        ("listops", {"arguments": 1}, "arguments: 1; an operator needs 2 or more"),
        ("listops", {"shortest": 3}, "shortest: 3; .* Make `shortest` 4 to 40"),
        ("listops", {"shortest": 41}, "shortest: 41; .* or `length` larger"),
        ("parity", {"length": 0}, "length: 0 .* make it 1 or more"),
        ("delayed_recall", {"train": 0}, "train: 0 sequences; make it 1 or more"),
        ("selective_copy", {"test": 0}, "test: 0 sequences; make it 1 or more"),
        ("associative_recall", {"validation": -1}, "validation: -1 sequences; make it 0 or more"),
    ],
)
def test_a_wrong_setting_is_a_mistake_that_says_the_cure(name, changes, message):
    with pytest.raises(UserError, match=message):
        CASES[name].task(**changes)
