"""Make an object from its config with Hydra, and raise UserError if the config has an error."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from lookback.errors import TRACEBACK, UserError

PACKAGE = __name__.partition(".")[0]
# Raised if a path names no file that can be read.
MISSING_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


def instantiate(config: Mapping[str, Any], **arguments: Any) -> Any:
    """Make an object of the class that `_target_` in the config names.

    The constructor receives all other settings of the config, and the keyword arguments
    `arguments`. Raises UserError if the class cannot be imported, if it refuses its settings, or if
    its constructor does not find a file. A class refuses its settings if its constructor raises
    UserError or ValueError. A TypeError counts as a refusal only if the class belongs to another
    library. Planning has already checked the settings of lookback's own classes, so a TypeError in
    such a class is a bug. For such a bug, the function raises Hydra's exception and not UserError.
    Any other OSError of the constructor, such as a missing permission, is raised unchanged.
    """
    try:
        return hydra.utils.instantiate(config, **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, MISSING_FILE):
            raise missing_file(config, cause) from error
        if isinstance(cause, OSError):
            raise cause from error
        target, key = _place(str(error))
        is_ours = target.startswith(f"{PACKAGE}.")
        if isinstance(cause, ValueError) or (isinstance(cause, TypeError) and not is_ours):
            place = f" (at '{key}')" if key else ""
            raise refusal(f"{target}{place} refuses its settings", cause) from error
        if isinstance(cause, ImportError):
            raise refusal(f"'_target_: {target}' cannot be imported", cause) from error
        raise


def missing_file(config: Mapping[str, Any], error: OSError) -> UserError:
    """The UserError for a file that an object made from `config` does not find.

    The message names the setting whose text occurs in the message of `error`, if there is one.
    """
    named = [
        (key, text)
        for key, text in _texts(config)
        if text and re.search(rf"(?<![\w.-]){re.escape(text)}(?![\w.-])", str(error))
    ]
    problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    key, text = max(named, key=lambda pair: len(pair[1]), default=("", ""))
    owner = f"The setting `{key}: {text}`" if key else str(config.get("_target_"))
    return UserError(
        f"{owner} needs a file that cannot be read ({problem}). Correct the settings, or put the "
        f"file there. A relative path starts in {Path.cwd()}."
    )


def _texts(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The dotted name and the text of each setting that is a text, except the names of classes."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _texts(value, f"{prefix}{key}.")
        elif isinstance(value, str) and key != "_target_":
            yield f"{prefix}{key}", value


def refusal(problem: str, cause: Exception) -> UserError:
    """The UserError for a class that refuses its settings, with the message of `cause`."""
    return UserError(f"{problem}: {' '.join(str(cause).split())}.\n{TRACEBACK}=1 shows where.")


def _place(message: str) -> tuple[str, str]:
    """The class and the config key that an error message of Hydra names.

    The config key is an empty string if the class is at the top level of the config.
    """
    target = re.search(r"target '([^']+)'", message)
    key = re.search(r"^full_key: (.+)$", message, re.MULTILINE)
    return target[1] if target else "a class", key[1] if key else ""
