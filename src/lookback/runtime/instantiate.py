"""Make an object from its config with Hydra, and raise UserError if the config has an error."""

import re
from collections.abc import Mapping
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from lookback.errors import TRACEBACK, UserError

PACKAGE = __name__.partition(".")[0]


def instantiate(config: Mapping[str, Any], **arguments: Any) -> Any:
    """Make an object of the class that `_target_` in the config names.

    The constructor receives all other settings of the config, and the keyword arguments
    `arguments`. Raises UserError if the class cannot be imported or refuses its settings. A class
    refuses its settings if its constructor raises UserError or ValueError. A TypeError counts as a
    refusal only if the class belongs to another library. Planning has already checked the settings
    of lookback's own classes, so a TypeError in such a class is a bug. For such a bug, the function
    raises Hydra's exception and not UserError.
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
    """The class and the config key that an error message of Hydra names.

    The config key is an empty string if the class is at the top level of the config.
    """
    target = re.search(r"target '([^']+)'", message)
    key = re.search(r"^full_key: (.+)$", message, re.MULTILINE)
    return target[1] if target else "a class", key[1] if key else ""
