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

    Raises UserError if the target cannot be imported or refuses its settings. A target refuses its
    settings by a UserError (which Hydra would hide), by a ValueError, or, if the class belongs to
    another library, by a TypeError. A TypeError of our own class is a bug and is not converted,
    because planning has already checked the settings of our classes.
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
    """The class and the config key that Hydra's message names.

    The key is empty if the class is at the top level of the config.
    """
    target = re.search(r"target '([^']+)'", message)
    key = re.search(r"^full_key: (.+)$", message, re.MULTILINE)
    return target[1] if target else "a class", key[1] if key else ""
