"""Make an object from its config: Hydra's `instantiate`, with errors for the user."""

import re
from collections.abc import Mapping
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from lookback.errors import TRACEBACK, UserError

PACKAGE = __name__.partition(".")[0]


def instantiate(config: Mapping[str, Any], **arguments: Any) -> Any:
    """Call the config's `_target_` with the config's other keys and with `arguments`.

    Raises UserError if the target refuses its settings. That is: a UserError of our own classes,
    which Hydra would hide; a ValueError of any class; a TypeError of a class of another library.
    Planning has checked the keys of our own classes, so a TypeError of theirs is a bug and is not
    converted.
    """
    try:
        return hydra.utils.instantiate(config, **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        target, key = _place(str(error))
        is_ours = target.startswith(f"{PACKAGE}.")
        if isinstance(cause, ValueError) or (isinstance(cause, TypeError) and not is_ours):
            place = f" (at '{key}')" if key else ""
            raise _refusal(f"{target}{place} refuses its settings", cause) from error
        if isinstance(cause, ImportError):
            raise _refusal(f"'_target_: {target}' cannot be imported", cause) from error
        raise


def _refusal(problem: str, cause: Exception) -> UserError:
    return UserError(f"{problem}: {' '.join(str(cause).split())}.\n{TRACEBACK}=1 shows where.")


def _place(message: str) -> tuple[str, str]:
    """The class that Hydra's message names, and the config key of it; empty at the top level."""
    target = re.search(r"target '([^']+)'", message)
    key = re.search(r"^full_key: (.+)$", message, re.MULTILINE)
    return target[1] if target else "a class", key[1] if key else ""
