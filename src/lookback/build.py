"""An object from its config: Hydra's `instantiate`, with our own mistakes let through."""

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from lookback.errors import Mistake


def build(config: Mapping[str, Any], **more: Any) -> Any:
    """What the config's `_target_` makes of its other keys and of `more`.

    Raises the Mistake that a constructor raised, which Hydra would wrap.
    """
    try:
        return instantiate(config, **more)
    except InstantiationException as error:
        if isinstance(error.__cause__, Mistake):
            raise error.__cause__ from None
        raise
