"""An object from its config: Hydra's `instantiate`, whose refusals become mistakes."""

import re
from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from lookback.errors import TRACEBACK, Mistake

PACKAGE = __name__.partition(".")[0]


def build(config: Mapping[str, Any], **more: Any) -> Any:
    """What the config's `_target_` makes of its other keys and of `more`.

    Raises Mistake where a class refuses its settings: its own mistake, which Hydra would wrap, or
    a ValueError of any class, or a TypeError of one from another library. Ours are called rightly
    once a config was checked, so such a TypeError is a fault, and stays one.
    """
    try:
        return instantiate(config, **more)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, Mistake):
            raise cause from None
        target, key = _place(str(error))
        ours = target.startswith(f"{PACKAGE}.")
        if isinstance(cause, ValueError) or (isinstance(cause, TypeError) and not ours):
            at = f" (at '{key}')" if key else ""
            raise _said(f"{target}{at} refuses its settings", cause) from error
        if isinstance(cause, ImportError):
            raise _said(f"'_target_: {target}' cannot be imported", cause) from error
        raise


def _said(refused: str, cause: Exception) -> Mistake:
    return Mistake(f"{refused}: {' '.join(str(cause).split())}.\n{TRACEBACK}=1 shows where.")


def _place(message: str) -> tuple[str, str]:
    """The class that Hydra's message names, and the key that it stands at, empty at the top."""
    target = re.search(r"target '([^']+)'", message)
    key = re.search(r"^full_key: (.+)$", message, re.MULTILINE)
    return target[1] if target else "a class", key[1] if key else ""
