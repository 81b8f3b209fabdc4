"""Why a stage is rerun: the differences between two of its plan files."""

from collections.abc import Iterator, Mapping
from typing import Any

from lookback.storage.atomic import read_json
from lookback.storage.paths import plan_file


def differences(stage: str, before: str, now: str) -> list[str]:
    """The differences between two plan files of a stage, whose digests are `before` and `now`.

    A difference is a text such as «model.layers 1 → 2» or «code of lookback.models.gru». The result
    is empty if one of the two plan files was deleted.
    """
    paths = [plan_file(stage, name) for name in (before, now)]
    if not all(path.exists() for path in paths):
        return []
    old, new = (dict(_flat(read_json(path))) for path in paths)
    changed = [key for key in {**old, **new} if old.get(key, "–") != new.get(key, "–")]
    code = [f"code of {key.removeprefix('code.')}" for key in changed if key.startswith("code.")]
    settings = [
        f"{key.removeprefix('libraries.')} {old.get(key, '–')} → {new.get(key, '–')}"
        for key in changed
        if not key.startswith("code.")
    ]
    return [*settings, *code]


def _flat(node: Any, parent: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted key and the value of each leaf of a nested mapping."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{parent}.{key}" if parent else str(key))
    else:
        yield parent, node
