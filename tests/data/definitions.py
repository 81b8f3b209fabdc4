"""The definition of every generated task in plain Python, one step after another."""

import itertools
import math
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lookback.data.adding import Adding
from lookback.data.associative_recall import AssociativeRecall
from lookback.data.back_recall import BackRecall
from lookback.data.back_value import BackValue
from lookback.data.copy import Copy
from lookback.data.delayed_recall import DelayedRecall
from lookback.data.generated import GeneratedTask
from lookback.data.listops import ListOps
from lookback.data.memory_function import MemoryFunction
from lookback.data.parity import Parity
from lookback.data.selective_copy import SelectiveCopy
from lookback.data.temporal_order import TemporalOrder

SIZES = {"train": 60, "validation": 20, "test": 40, "seed": 3, "fresh": False}
Walk = list[tuple[int, Any, set[int]]]  # for each answer: its step, the right answer, its evidence


@dataclass(frozen=True)
class Case:
    """A small task and its definition in plain Python."""

    make: Callable[..., GeneratedTask]
    settings: dict[str, Any]
    walk: Callable[[list, dict[str, Any]], Walk]  # a sequence, the settings
    redraw: Callable[[list, int, dict[str, Any]], Iterator[list]]  # other values of a step
    digest: str  # the digest of the test split with SIZES, equal on every machine

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


def walk_back(sequence, settings, width, of):
    """The answers if the first `width` features show what `of` reads, and the rest ask for it."""
    lags, answers = settings["lags"], []
    for step, values in enumerate(sequence):
        if step < max(lags):
            assert not any(values[width:])
        else:
            assert sorted(values[width:]) == [0] * (len(lags) - 1) + [1]
            past = step - lags[values[width:].index(1)]
            answers.append((step, of(sequence[past][:width]), {past}))
    return answers


def walk_back_recall(sequence, settings):
    symbols = settings["symbols"]
    assert all(sorted(values[:symbols]) == [0] * (symbols - 1) + [1] for values in sequence)
    return walk_back(sequence, settings, symbols, lambda symbol: symbol.index(1))


def redraw_back_recall(sequence, step, settings):
    for symbol in range(settings["symbols"]):
        one_hot = [float(symbol == each) for each in range(settings["symbols"])]
        redrawn = [*one_hot, *sequence[step][settings["symbols"] :]]
        yield [*sequence[:step], redrawn, *sequence[step + 1 :]]


def walk_back_value(sequence, settings):
    assert all(-1 <= values[0] < 1 for values in sequence)
    return walk_back(sequence, settings, 1, lambda value: value[0])


def redraw_back_value(sequence, step, settings):
    for value in (-0.5, 0.25, 0.75):
        yield [*sequence[:step], [value, *sequence[step][1:]], *sequence[step + 1 :]]


def walk_memory_function(sequence, settings):
    values, window, strength = [x for (x,) in sequence], settings["window"], settings["strength"]
    weights = {
        "exponential": [math.exp(-s / strength) for s in range(window)],
        "impulse": [float(s == strength) for s in range(window)],
    }[settings["function"]]
    size = math.sqrt(sum(weight**2 for weight in weights))
    answers = []
    for step in range(window - 1, len(values)):
        target = sum(weight / size * values[step - s] for s, weight in enumerate(weights))
        answers.append((step, target, {step - s for s, weight in enumerate(weights) if weight}))
    return answers


def redraw_memory_function(sequence, step, settings):
    for value in (-1.5, 0.25, 2.0):
        yield [*sequence[:step], [value], *sequence[step + 1 :]]


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
    """Replace a value by one that is not in the sequence, and a key in both of its places."""
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
        """The value of the node at a step, and the first step after the node."""
        if 1 <= sequence[at] <= 10:
            return sequence[at] - 1, at + 1
        assert depth < settings["depth"]
        operator, arguments, at = sequence[at] - 11, [], at + 1
        while sequence[at] != 15:
            argument, at = value(at, depth + 1)
            arguments.append(argument)
        assert 2 <= len(arguments) <= settings["arguments"]
        median = int(statistics.median(arguments))
        results = [min(arguments), max(arguments), median, sum(arguments) % 10]
        return results[operator], at + 1

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
    "back_recall": Case(
        BackRecall,
        {"length": 13, "symbols": 3, "lags": [5, 1, 2]},
        walk_back_recall,
        redraw_back_recall,
        "4bec983d6acea73f",
    ),
    "back_value": Case(
        BackValue,
        {"length": 13, "lags": [5, 1, 2]},
        walk_back_value,
        redraw_back_value,
        "955ef15d92a8bdc7",
    ),
    "memory_function": Case(
        MemoryFunction,
        {"length": 12, "function": "exponential", "strength": 2.5, "window": 7},
        walk_memory_function,
        redraw_memory_function,
        "c4a90e3c6fd57139",
    ),
    "memory_function_of_impulse": Case(
        MemoryFunction,
        {"length": 12, "function": "impulse", "strength": 4.0, "window": 7},
        walk_memory_function,
        redraw_memory_function,
        "2c65c67e76d88921",
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
