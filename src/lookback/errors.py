"""The exceptions of lookback, and a function that suggests a correction for a misspelt word."""

import difflib
from collections.abc import Iterable

# If this environment variable is set, a UserError is printed with its traceback.
TRACEBACK = "LOOKBACK_TRACEBACK"
LONGEST = 200  # the number of characters that an error message quotes of one text


class UserError(Exception):
    """Raised after a mistake that the user can correct.

    The command prints the error message without a traceback and exits with status 2. The error
    message says what is wrong, where it is wrong, and how to correct the mistake. If a word is
    misspelt, the error message also suggests the most similar word that is allowed.
    """


class NotApplicable(Exception):
    """Raised if a probe or an explainer has no meaning for a model or a task.

    The error message is one clause, such as «a transformer has no gates».
    """


class Diverged(RuntimeError):
    """Raised to end a training run whose loss becomes infinite or NaN.

    The error message names the training step at which the loss diverged, or the split of the data
    on which it diverged.
    """


def shortened(text: str) -> str:
    """`text` for an error message: a long text is cut at its end and marked with «…»."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The element of `choices` that is most similar to `word`, or None if no element is similar."""
    lower = {choice.lower(): choice for choice in choices}
    asked = word.lower()
    similar = difflib.get_close_matches(asked, lower, n=1, cutoff=0.6)
    if not similar:
        # A choice may contain the word («digits_rows» contains «rows»), or the word a choice.
        similar = [choice for choice in lower if asked in choice or choice in asked]
    if not similar:
        similar = difflib.get_close_matches(asked, lower, n=1, cutoff=0.4)
    return lower[similar[0]] if similar else None
