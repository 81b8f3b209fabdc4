"""The three exceptions of lookback, and the search for the valid word nearest to a wrong word."""

import difflib
from collections.abc import Iterable

TRACEBACK = "LOOKBACK_TRACEBACK"  # environment variable: if set, a UserError shows its traceback


class UserError(Exception):
    """A mistake that the user can correct. It is printed without a traceback; exit status 2.

    The message names what is wrong, where, the nearest valid choice and the cure.
    """


class NotApplicable(Exception):
    """A probe or an explainer has no meaning for this model or task.

    The message is one clause: «a transformer has no gates».
    """


class Diverged(RuntimeError):
    """The loss became infinite or NaN. This seed is lost; the message says at which step."""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most similar to `word`, or None if no choice is similar."""
    lower = {choice.lower(): choice for choice in choices}
    asked = word.lower()
    similar = difflib.get_close_matches(asked, lower, n=1, cutoff=0.6)
    if not similar:  # part of a choice («rows» of «digits_rows»), or a choice with extra words
        similar = [choice for choice in lower if asked in choice or choice in asked]
    if not similar:
        similar = difflib.get_close_matches(asked, lower, n=1, cutoff=0.4)
    return lower[similar[0]] if similar else None
