"""Finds the modules and packages that a config names.

A config names them by dotted names, such as `_target_: torch.optim.AdamW`, or `path:` beside
`_target_: hydra.utils.get_class`.
"""

import re
import sys
from collections.abc import Container, Iterator, Mapping
from typing import Any

from lookback.planning.code_copy import PACKAGE

DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def own_modules(node: Any, modules: Container[str]) -> Iterator[str]:
    """The modules of lookback that the dotted names in the config `node` name or belong to.

    `modules` holds the dotted names of all modules of lookback.
    """
    for name in _dotted_names(node):
        while name and name not in modules:
            name = name.rpartition(".")[0]
        if name.partition(".")[0] == PACKAGE and name != PACKAGE:
            yield name


def foreign_packages(node: Any) -> Iterator[str]:
    """The third-party package of each dotted name in the config `node`, such as «torch».

    A text that only looks like a dotted name, such as a file name, gives a package that is not
    installed.
    """
    packages = (name.partition(".")[0] for name in _dotted_names(node))
    ours = {PACKAGE, *sys.stdlib_module_names}
    return (package for package in packages if package not in ours)


def _dotted_names(node: Any) -> Iterator[str]:
    """Every text at any depth of the config `node` that has the form of a dotted name."""
    if isinstance(node, Mapping):
        for value in node.values():
            yield from _dotted_names(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _dotted_names(value)
    elif isinstance(node, str) and DOTTED.fullmatch(node):
        yield node
