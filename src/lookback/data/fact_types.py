"""Checks of the type of each fact of a task, before the facts are compared with the data.

JSON and torch would take a wrong type in silence, or fail in a later stage.
"""

import sys
from collections.abc import Mapping

import torch

from lookback.data.task import Facts
from lookback.errors import UserError

WHOLE = ("features", "length", "outputs")  # the facts that are whole numbers
# The largest float32 number, and the smallest normal one.
LARGEST, SMALLEST = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny


def check_types(facts: object) -> None:
    """Raise UserError if a fact has a wrong type, or is a number that is not finite.

    Raises UserError, too, if `facts` is no object of the class Facts.
    """
    if not isinstance(facts, Facts):
        raise UserError(
            f"The task's `facts()` return {kind_of(facts)}. Return an object of the class Facts."
        )
    for name in ("kind", "metric", "baseline_name"):
        if not isinstance(getattr(facts, name), str):
            _refuse_type(name, getattr(facts, name), "a text")
    if not isinstance(facts.tokens, bool):
        _refuse_type("tokens", facts.tokens, "True or False")
    for name in WHOLE:
        if not _is_whole(getattr(facts, name)):
            _refuse_type(name, getattr(facts, name), "a whole number of the type int")
    if not _is_number(facts.baseline, sys.float_info.max):
        _refuse_type("baseline", facts.baseline, "a finite number of the type float")
    others = facts.other_baselines
    if not isinstance(others, Mapping) or not all(
        isinstance(name, str) and _is_number(score, sys.float_info.max)
        for name, score in others.items()
    ):
        _refuse_type("other_baselines", others, "a dictionary of finite numbers by names")
    if facts.optimum is not None and not _is_number(facts.optimum, sys.float_info.max):
        _refuse_type("optimum", facts.optimum, "a finite number of the type float, or None")
    for name, smallest in (("mean", 0), ("scale", SMALLEST)):
        values = getattr(facts, name)
        if not isinstance(values, tuple | list) or not all(
            _is_number(value, LARGEST) and abs(value) >= smallest for value in values
        ):
            other = ", other than 0" if name == "scale" else ""
            _refuse_type(name, values, f"a tuple of finite float32 numbers{other}")
    sizes = facts.sizes
    if not isinstance(sizes, Mapping) or not all(map(_is_whole, sizes.values())):
        _refuse_type("sizes", sizes, "a dictionary of whole numbers of the type int")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object, largest: float) -> bool:
    """Whether a value is a number of Python, not NaN, and at most `largest` from 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= largest


def _refuse_type(fact: str, value: object, needed: str) -> None:
    text = " ".join(repr(value).split())
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    raise UserError(said(fact, shown, f"it must be {needed}"))


def said(fact: str, value: object, truth: str) -> str:
    """The error message for a fact whose value contradicts `truth`."""
    return f"The task's `facts()` say {fact}: {value}, but {truth}. Correct `facts()` or the data."


def kind_of(value: object) -> str:
    """The type of a value for an error message, such as «a dict»."""
    return "None" if value is None else f"a {type(value).__name__}"
