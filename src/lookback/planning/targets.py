"""Collects the modules of the classes that a config names with the key `_target_`."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from lookback.planning.code_copy import PACKAGE


def own_targets(node: Any) -> Iterator[str]:
    """The module of each class of lookback that a key `_target_` in the config `node` names."""
    return (name for name in _modules(node) if name.partition(".")[0] == PACKAGE)


def foreign_packages(node: Any) -> Iterator[str]:
    """The package of each third-party class under a key `_target_`, such as «torch» for AdamW."""
    packages = (name.partition(".")[0] for name in _modules(node))
    ours = {PACKAGE, *sys.stdlib_module_names}
    return (package for package in packages if package not in ours)


def _modules(node: Any) -> Iterator[str]:
    """The module of each class that a key `_target_` names, at any depth of the config `node`.

    The value of the key `_target_` is the dotted name of a class, or a list of dotted names of
    modules.
    """
    if isinstance(node, Mapping):
        if "_target_" in node:
            target = node["_target_"]
            yield from [target.rpartition(".")[0]] if isinstance(target, str) else target
        for value in node.values():
            yield from _modules(value)
    elif isinstance(node, list):
        for value in node:
            yield from _modules(value)
