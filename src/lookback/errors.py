"""Mistakes of the user: what, where, the nearest right thing, how to mend it."""

import difflib
from collections.abc import Iterable

TRACEBACK = "LOOKBACK_TRACEBACK"  # set in the environment: a mistake shows where it was found


class Mistake(Exception):
    """Something a person can mend; printed as «lookback: …» without a traceback, exit status 2."""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most like `word`, or None where none is near."""
    lower = {choice.lower(): choice for choice in choices}
    asked = word.lower()
    found = difflib.get_close_matches(asked, lower, n=1, cutoff=0.6)
    if not found:  # a word of the right name, or the right name with more words
        found = [choice for choice in lower if asked in choice or choice in asked]
    if not found:
        found = difflib.get_close_matches(asked, lower, n=1, cutoff=0.4)
    return lower[found[0]] if found else None
