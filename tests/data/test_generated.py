"""Every generated task against its definition, walked along step by step in plain Python."""

import itertools
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from lookback.data.adding import Adding
from lookback.data.associative_recall import AssociativeRecall
from lookback.data.batch import SequenceDataset
from lookback.data.content import digest_of
from lookback.data.copy import Copy
from lookback.data.delayed_recall import DelayedRecall
from lookback.data.generated import GeneratedTask, distinct, shuffled
from lookback.data.listops import ListOps
from lookback.data.parity import Parity
from lookback.data.selective_copy import SelectiveCopy
from lookback.data.task import SPLITS
from lookback.data.temporal_order import TemporalOrder
from lookback.errors import Mistake

SIZES = {"train": 60, "validation": 20, "test": 40, "seed": 3}
Walk = list[tuple[int, Any, set[int]]]  # of each answer: its step, what is right, its evidence


@dataclass(frozen=True)
class Case:
    """A task, small, with its definition in plain Python."""

    make: Callable[..., GeneratedTask]
    settings: dict[str, Any]
    walk: Callable[[list, dict[str, Any]], Walk]  # a sequence, the settings
    redraw: Callable[[list, int, dict[str, Any]], Iterator[list]]  # what a step may be instead
    digest: str  # of the test split with SIZES: the same bytes on every machine

    def task(self, **changes: Any) -> GeneratedTask:
        return self.make(**self.settings | SIZES | changes)


def walk_adding(sequence, settings):
    steps = [step for step, (_, marker) in enumerate(sequence) if marker == 1]
    assert sum(step < settings["length"] // 2 for step in steps) == 1
    assert len(steps) == 2
    return [(len(sequence) - 1, sum(sequence[step][0] for step in steps), set(steps))]


def redraw_adding(sequence, step, settings):
    for value in (0.0, 0.25, 0.75):
        yield [*sequence[:step], [value, sequence[step][1]], *sequence[step + 1 :]]


def walk_delayed_recall(sequence, settings):
    (cue,) = [step for step, values in enumerate(sequence) if values[-1] == 1]
    assert all(sorted(values[:-1]) == [0] * 4 + [1] for values in sequence)
    assert 1 <= len(sequence) - 1 - cue <= settings["longest_lag"]
    return [(len(sequence) - 1, sequence[cue].index(1), {cue})]


def redraw_delayed_recall(sequence, step, settings):
    for symbol in range(settings["symbols"]):
        one_hot = [float(symbol == each) for each in range(settings["symbols"])]
        yield [*sequence[:step], [*one_hot, sequence[step][-1]], *sequence[step + 1 :]]


def walk_selective_copy(sequence, settings):
    now, items = settings["symbols"] + 1, settings["items"]
    seen, said = sequence[:-items], sequence[-items:]
    assert said == [now] * items
    assert now not in seen
    symbols = [(step, token) for step, token in enumerate(seen) if token != 0]
    return [(len(seen) + i, token - 1, {step}) for i, (step, token) in enumerate(symbols)]


def redraw_selective_copy(sequence, step, settings):
    if 0 < sequence[step] <= settings["symbols"]:
        for token in range(1, settings["symbols"] + 1):
            yield [*sequence[:step], token, *sequence[step + 1 :]]


def walk_associative_recall(sequence, settings):
    half, context = settings["vocabulary"] // 2, 2 * settings["pairs"]
    keys, values = sequence[0:context:2], sequence[1:context:2]
    assert len(set(keys)) == len(set(values)) == settings["pairs"]
    assert all(1 <= key < half for key in keys)
    assert all(half <= value < settings["vocabulary"] for value in values)
    answers = []
    for pair, (key, value) in enumerate(zip(keys, values, strict=True)):
        (query,) = [s for s in range(context, len(sequence)) if sequence[s] == key]
        assert query % 2 == 0
        answers.append((query, value, {2 * pair, 2 * pair + 1}))
    assert sum(token != 0 for token in sequence) == 3 * settings["pairs"]
    return answers


def redraw_associative_recall(sequence, step, settings):
    """A value for another that does not stand there; a key in both of its places."""
    half, context, old = settings["vocabulary"] // 2, 2 * settings["pairs"], sequence[step]
    if step < context:
        spaces = range(half, settings["vocabulary"]) if step % 2 else range(1, half)
        for token in set(spaces) - set(sequence[:context]):
            yield [token if each == old else each for each in sequence]


def walk_copy(sequence, settings):
    blank, items = settings["symbols"], settings["items"]
    start = sequence.index(blank + 1) + 1  # after the delimiter
    assert sequence[items:start] == [blank] * (start - items - 1) + [blank + 1]
    assert sequence[start:] == [blank] * items
    return [(start + i, sequence[i], {i}) for i in range(items)]


def redraw_copy(sequence, step, settings):
    if step < settings["items"]:
        for token in range(settings["symbols"]):
            yield [*sequence[:step], token, *sequence[step + 1 :]]


def walk_temporal_order(sequence, settings):
    assert all(sorted(values) == [0] * 7 + [1] for values in sequence)
    word = "".join("abcdEBXY"[values.index(1)] for values in sequence)
    assert re.fullmatch("E[abcdXY]*B", word)
    steps = [step for step, letter in enumerate(word) if letter in "XY"]
    order = ["".join(marks) for marks in itertools.product("XY", repeat=settings["marks"])]
    target = order.index("".join(word[step] for step in steps))
    return [(len(word) - 1, target, set(steps))]


def redraw_temporal_order(sequence, step, settings):
    now = sequence[step].index(1)
    for symbol in next(kin for kin in ((0, 1, 2, 3), (4,), (5,), (6, 7)) if now in kin):
        one_hot = [float(symbol == each) for each in range(8)]
        yield [*sequence[:step], one_hot, *sequence[step + 1 :]]


def walk_parity(sequence, settings):
    odd, answers = False, []
    for step, bit in enumerate(sequence):
        odd = odd != bool(bit)
        answers.append((step, int(odd), set(range(step + 1))))
    return answers


def redraw_parity(sequence, step, settings):
    yield [*sequence[:step], 1 - sequence[step], *sequence[step + 1 :]]


def walk_listops(sequence, settings):
    assert settings["shortest"] <= len(sequence) <= settings["length"]

    def value(at, depth):
        """The value of the node at a step, and the step after its end."""
        if 1 <= sequence[at] <= 10:
            return sequence[at] - 1, at + 1
        assert depth < settings["depth"]
        operator, arguments, at = sequence[at] - 11, [], at + 1
        while sequence[at] != 15:
            argument, at = value(at, depth + 1)
            arguments.append(argument)
        assert 2 <= len(arguments) <= settings["arguments"]
        median = int(statistics.median(arguments))
        found = [min(arguments), max(arguments), median, sum(arguments) % 10]
        return found[operator], at + 1

    target, end = value(0, 1)
    assert end == len(sequence)
    return [(end - 1, target, set(range(end)))]


def redraw_listops(sequence, step, settings):
    for kin in (range(1, 11), range(11, 15)):
        if sequence[step] in kin:
            for token in kin:
                yield [*sequence[:step], token, *sequence[step + 1 :]]


CASES = {
    "adding": Case(
        Adding,
        {"length": 11},
        walk_adding,
        redraw_adding,
        "52f1ff1984e1e61a",
    ),
    "delayed_recall": Case(
        DelayedRecall,
        {"length": 13, "symbols": 5, "longest_lag": 9},
        walk_delayed_recall,
        redraw_delayed_recall,
        "dcaefa28f11f6277",
    ),
    "selective_copy": Case(
        SelectiveCopy,
        {"length": 17, "symbols": 4, "items": 5},
        walk_selective_copy,
        redraw_selective_copy,
        "615bc1ed849b8976",
    ),
    "associative_recall": Case(
        AssociativeRecall,
        {"length": 19, "vocabulary": 14, "pairs": 3, "power": 0.01, "random_non_queries": False},
        walk_associative_recall,
        redraw_associative_recall,
        "8763fd79cd692caf",
    ),
    "copy": Case(
        Copy,
        {"length": 17, "symbols": 4, "items": 5},
        walk_copy,
        redraw_copy,
        "a6d040e5200db11c",
    ),
    "temporal_order": Case(
        TemporalOrder,
        {"length": 24, "marks": 2},
        walk_temporal_order,
        redraw_temporal_order,
        "74dc049a940cfcfc",
    ),
    "temporal_order_of_three": Case(
        TemporalOrder,
        {"length": 24, "marks": 3},
        walk_temporal_order,
        redraw_temporal_order,
        "77885972b4b25dda",
    ),
    "listops": Case(
        ListOps,
        {"length": 40, "shortest": 10, "depth": 4, "arguments": 5},
        walk_listops,
        redraw_listops,
        "cb8e262bff08085b",
    ),
    "parity": Case(
        Parity,
        {"length": 12},
        walk_parity,
        redraw_parity,
        "637824aaa16f2e27",
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_target_query_evidence_and_lag_are_those_of_a_walk_along_the_sequence(case: Case):
    for split in SPLITS:
        data = case.task().dataset(split)
        assert len(data) == SIZES[split]
        hold_against_walk(case, data)


def hold_against_walk(case: Case, data: SequenceDataset) -> None:
    """Assert that all that is said of some sequences is what a walk along each of them finds."""
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
    """The test of the test: one answer, one lag, or the evidence a step late."""
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
    """Every step of five sequences, as all that the generator could have drawn in its role."""
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


SHIPPED = [name for name in CASES if not name.endswith("_of_three")]


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


def test_the_baseline_is_the_most_frequent_class_of_train_over_all_answers():
    task = CASES["selective_copy"].task()
    train, test = (task.dataset(split).target.flatten().tolist() for split in ("train", "test"))
    most = max(range(4), key=train.count)
    assert task.facts().baseline == pytest.approx(test.count(most) / len(test))


def test_sequences_that_came_before_are_drawn_anew_until_every_one_is_found():
    """One of two symbols at one of two steps: there are four."""
    task = SelectiveCopy(length=3, symbols=2, items=1, train=2, validation=1, test=1, seed=0)
    rows = {tuple(r) for split in SPLITS for r in task.dataset(split).inputs.tolist()}
    assert rows == {(1, 0, 3), (2, 0, 3), (0, 1, 3), (0, 2, 3)}


def test_more_sequences_than_there_are_is_a_mistake():
    task = SelectiveCopy(length=3, symbols=2, items=1, train=3, validation=1, test=1, seed=0)
    task.dataset("validation")
    with pytest.raises(Mistake, match=r"too few different sequences\. Of the 3 of train, 1 could"):
        task.dataset("train")


def test_lags_of_delayed_recall_are_log_uniform():
    task = DelayedRecall(
        length=40, symbols=3, longest_lag=32, train=1, validation=0, test=20_000, seed=0
    )
    found = task.dataset("test").lag.flatten().bincount(minlength=33)[1:] / 20_000
    odds = torch.tensor([1 / lag for lag in range(1, 33)])
    torch.testing.assert_close(found, odds / odds.sum(), atol=0.01, rtol=0)


def test_gaps_of_associative_recall_follow_the_power_law():
    """The first pair's gap is drawn freely: P(g) ∝ (g + 1)^(power − 1)."""
    for power in (0.01, 1.0):
        settings = CASES["associative_recall"].settings | {"power": power}
        task = AssociativeRecall(**settings, train=1, validation=0, test=20_000, seed=0)
        found = ((task.dataset("test").query[:, 0] - 6) // 2).bincount(minlength=6) / 20_000
        odds = torch.tensor([(gap + 1) ** (power - 1) for gap in range(6)])
        torch.testing.assert_close(found, odds / odds.sum(), atol=0.015, rtol=0)


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


def test_temporal_order_has_the_ranges_of_the_paper():
    for marks, ranges in ((2, ((10, 20), (50, 60))), (3, ((10, 20), (33, 43), (66, 76)))):
        task = TemporalOrder(length=110, marks=marks, train=1, validation=0, test=2000, seed=0)
        batch = task.dataset("test").batch(slice(None), evidence=True)
        steps = batch.evidence[:, 0].nonzero()[:, 1].view(-1, marks)
        for place, (low, high) in enumerate(ranges):
            assert steps[:, place].unique().tolist() == list(range(low, high + 1))
        assert batch.lengths.unique().tolist() == list(range(100, 111))
        assert batch.target.unique().tolist() == list(range(2**marks))


def listops(depth, arguments):
    """20,000 expressions of all lengths that there are: of no more than 1,000 tokens."""
    settings = {"length": 1000, "shortest": 4, "depth": depth, "arguments": arguments}
    task = ListOps(**settings, train=1, validation=0, test=1, seed=0)
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
    found, times = np.unique(orders, axis=0, return_counts=True)
    assert len(found) == 6
    assert np.abs(times / 6000 - 1 / 6).max() < 0.02


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("delayed_recall", {"longest_lag": 13}, "longest_lag: 13 .* make it 1 to 12"),
        ("delayed_recall", {"longest_lag": 0}, "longest_lag: 0 .* make it 1 to 12"),
        ("delayed_recall", {"length": 8}, "longest_lag: 9 .* or `length` larger"),
        ("delayed_recall", {"symbols": 1}, "symbols: 1 .* make it 2 or more"),
        ("selective_copy", {"items": 0}, "items: 0 .* Make `items` 1 to that"),
        ("selective_copy", {"items": 9}, "items: 9 .* room for 8"),
        ("selective_copy", {"symbols": 1}, "symbols: 1 .* make it 2 or more"),
        ("associative_recall", {"pairs": 0}, "pairs: 0, .* Make `pairs` 1 to that"),
        ("associative_recall", {"pairs": 5}, "pairs: 5, .* room for 4"),
        ("associative_recall", {"vocabulary": 7}, "vocabulary: of 7 tokens 2 .* Make it 8 or"),
        ("associative_recall", {"power": -1.0}, "power: -1.0; make it 0 or more"),
        ("adding", {"length": 1}, "length 1 is too short; make it 2 or more"),
        ("copy", {"items": 0}, "items: 0 .* Make `items` 1 to that"),
        ("copy", {"items": 9}, "items: 9 .* room for 8"),
        ("copy", {"symbols": 1}, "symbols: 1 .* make it 2 or more"),
        ("temporal_order", {"marks": 4}, "marks: 4; .* have 2 and 3"),
        ("temporal_order", {"length": 10}, "length: 10 .* make it 11 or more"),
        ("listops", {"depth": 1}, "depth: 1 .* make it 2 or more"),
        ("listops", {"arguments": 1}, "arguments: 1; make it 2 or more"),
        ("listops", {"shortest": 3}, "shortest: 3; .* Make `shortest` 4 to 40"),
        ("listops", {"shortest": 41}, "shortest: 41; .* or `length` larger"),
        ("parity", {"length": 0}, "length: 0 .* make it 1 or more"),
        ("delayed_recall", {"train": 0}, "train: 0 sequences; make it 1 or more"),
        ("selective_copy", {"test": 0}, "test: 0 sequences; make it 1 or more"),
        ("associative_recall", {"validation": -1}, "validation: -1 sequences; make it 0 or more"),
    ],
)
def test_a_wrong_setting_is_a_mistake_that_says_the_cure(name, changes, message):
    with pytest.raises(Mistake, match=message):
        CASES[name].task(**changes)


def test_expressions_that_are_too_rare_are_a_mistake():
    task = CASES["listops"].task(depth=2, arguments=10, shortest=30)
    with pytest.raises(Mistake, match="`arguments`, 0 have 30 to 40 tokens"):
        task.dataset("test")
