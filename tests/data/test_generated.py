"""Every generated task against its definition."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from lookback.data import generated
from lookback.data.batch import SequenceDataset
from lookback.data.content import digest_of
from lookback.data.generated import distinct, narrow, shuffled
from lookback.data.selective_copy import SelectiveCopy
from lookback.data.task import SPLITS
from lookback.errors import UserError
from tests.data.definitions import CASES, SIZES, Case


def digest_as_shown(data: SequenceDataset) -> str:
    """The digest of the data as batches show them, however they are stored."""
    batch = data.batch(slice(None))
    return digest_of(
        SequenceDataset(batch.inputs, batch.lengths, batch.query, batch.target, batch.lag)
    )


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
    batch = data.batch(slice(count))
    return batch.inputs, batch.lengths


def test_no_sequence_is_in_two_splits_or_twice_in_one(case: Case):
    rows = [row.numpy().tobytes() for split in SPLITS for row in case.task().dataset(split).inputs]
    assert len(set(rows)) == len(rows) == 120


def test_a_seed_says_everything_on_every_machine(case: Case):
    np.random.default_rng(0).random(5)
    torch.manual_seed(5)
    assert digest_as_shown(case.task().dataset("test")) == case.digest
    assert digest_as_shown(case.task(seed=4).dataset("test")) != case.digest
    assert digest_as_shown(case.task(train=5, validation=0).dataset("test")) == case.digest


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


def test_a_split_that_is_in_use_is_not_drawn_again(monkeypatch):
    counts, task = [], CASES["adding"].task()
    draw = task.draw
    monkeypatch.setattr(
        task, "draw", lambda count, generator: (counts.append(count), draw(count, generator))[1]
    )
    data = [task.dataset(split) for split in reversed(SPLITS)]
    task.facts()
    assert counts == [len(split) for split in data] == [40, 20, 60]


def test_a_long_split_is_drawn_in_parts_and_has_no_sequence_twice(case: Case, monkeypatch):
    monkeypatch.setattr(generated, "STEPS_AT_ONCE", 7 * case.settings["length"])
    for split in SPLITS:
        data = case.task().dataset(split)
        assert len({row.numpy().tobytes() for row in data.inputs}) == len(data) == SIZES[split]
        hold_against_walk(case, data)


def test_steps_and_classes_and_codes_are_stored_in_one_byte(case: Case):
    data = case.task().dataset("test")
    for name in ("inputs", "query", "target", "lag"):
        tensor = getattr(data, name)
        assert tensor.is_floating_point() or tensor.dtype == torch.int8, name


def test_numbers_that_a_task_does_not_promise_are_refused():
    with pytest.raises(UserError, match="drew the numbers 0 to 3 where it promises 0 to 2"):
        narrow(torch.tensor([0, 3]), 3)
    assert narrow(torch.tensor([-1, 127]), 128).dtype == torch.int8
    assert narrow(torch.tensor([128]), 129).dtype == torch.int16
    assert narrow(torch.tensor([32767]), 32768).dtype == torch.int16
    assert narrow(torch.tensor([5]), 32769).dtype == torch.int32


def test_fresh_sequences_are_new_at_each_step_and_the_same_for_a_seed_and_a_step(case: Case):
    task = case.task(fresh=True)
    held_out = {
        row.numpy().tobytes()
        for split in ("validation", "test")
        for row in task.dataset(split).inputs
    }
    steps = [task.fresh_sequences(step, 9) for step in (0, 1, 2**31)]
    rows = [{row.numpy().tobytes() for row in data.inputs} for data in steps]
    assert [len(of_step) for of_step in rows] == [9, 9, 9]
    assert not set.union(*rows) & held_out
    assert rows[0] != rows[1] != rows[2]
    for data in steps:
        hold_against_walk(case, data)
    again = case.task(fresh=True).fresh_sequences(2**31, 9)
    assert digest_as_shown(again) == digest_as_shown(steps[2])
    other = case.task(fresh=True, seed=4).fresh_sequences(0, 9)
    assert digest_as_shown(other) != digest_as_shown(steps[0])


SHIPPED = [name for name in CASES if "_of_" not in name]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_task_has_its_facts_and_goes_on_at_four_times_the_length(name, config):
    settings = config(f"task={name}") | {"train": 300, "validation": 0, "test": 200}
    facts = instantiate(settings).facts()
    longer = instantiate(settings | {"length": 4 * facts.length}).facts()
    assert (longer.features, longer.outputs) == (facts.features, facts.outputs)
    assert longer.length == 4 * facts.length
    data = instantiate(settings).dataset("test").batch(slice(None))
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
    task = SelectiveCopy(
        length=3, symbols=2, items=1, train=2, validation=1, test=1, seed=0, fresh=False
    )
    rows = {tuple(r) for split in SPLITS for r in task.dataset(split).inputs.tolist()}
    assert rows == {(1, 0, 3), (2, 0, 3), (0, 1, 3), (0, 2, 3)}


def test_more_sequences_than_there_are_is_a_mistake():
    task = SelectiveCopy(
        length=3, symbols=2, items=1, train=3, validation=1, test=1, seed=0, fresh=False
    )
    task.dataset("validation")
    with pytest.raises(
        UserError, match=r"too few different sequences\. Of the 3 that are needed, 1 could"
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


PEAK = """
import resource
from lookback.data.delayed_recall import DelayedRecall

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

settings = {"length": 10_000, "symbols": 8, "longest_lag": 9_999, "seed": 0, "fresh": False}
task = DelayedRecall(**settings, train=1000, validation=100, test=100)
before = peak()
data = [task.dataset(split) for split in ("test", "validation", "train")]
task.facts()
print(peak() - before)
"""


def test_long_sequences_need_a_fraction_of_the_memory_of_their_feature_vectors():
    """The one-hot vectors of all splits have 432 MB, and their codes 12 MB."""
    vectors = 1200 * 10_000 * 9 * 4
    added = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True)
    assert int(added.stdout) < vectors / 2
