"""The three errors that callers tell apart, and the nearest valid word for a misspelt one."""

import difflib
from collections.abc import Iterable

TRACEBACK = "LOOKBACK_TRACEBACK"  # environment variable: show the traceback of a UserError, too


class UserError(Exception):
    """A mistake that the user can correct. Printed without a traceback; the exit status is 2.

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
    found = difflib.get_close_matches(asked, lower, n=1, cutoff=0.6)
    if not found:  # a word of the right name, or the right name with more words
        found = [choice for choice in lower if asked in choice or choice in asked]
    if not found:
        found = difflib.get_close_matches(asked, lower, n=1, cutoff=0.4)
    return lower[found[0]] if found else None
