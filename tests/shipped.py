"""Models with the settings of conf/model/: constructors have no defaults of their own."""

import inspect
from functools import cache
from typing import Any

import yaml

from tests.conftest import ROOT

SIZES = ("_target_", "hidden_size", "embedding_size")  # a test says these itself


@cache
def settings_of(target: str) -> dict[str, Any]:
    """The constructor's settings in the YAML of conf/model/ that has this `_target_`."""
    for path in sorted((ROOT / "conf/model").glob("*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if config["_target_"] == target:
            return {name: value for name, value in config.items() if name not in SIZES}
    raise KeyError(f"no file of conf/model/ has _target_: {target}")


def model_config(target: str, **changes: Any) -> dict[str, Any]:
    """The config of `lookback.models.<target>` as shipped, with some settings changed."""
    target = f"lookback.models.{target}"
    return {"_target_": target, **settings_of(target), **changes}


def make_layer(kind: type, *sizes: Any, **settings: Any) -> Any:
    """A layer of this class, or of a subclass of a shipped one; other settings as shipped."""
    given = inspect.signature(kind).bind_partial(*sizes, **settings).arguments
    shipped = next(it for it in kind.__mro__ if it.__module__.startswith("lookback.models."))
    return kind(**{**settings_of(f"{shipped.__module__}.{shipped.__qualname__}"), **given})
