"""Finds the files that a config names, so that a change of their content reruns the stages.

A setting names a file if its value is the path of an existing file or folder. A relative path
starts at the project's folder, in which every stage runs.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lookback.errors import UserError


def input_files(config: Any) -> dict[str, str]:
    """The SHA-256 digest of each file that a setting in `config` names, by the path of the file.

    If a setting names a folder, all files below the folder are included, except hidden files.
    Raises UserError if a file cannot be read.
    """
    paths = sorted({str(path) for text in _texts(config) for path in _files(text)})
    return {path: _digest(Path(path)) for path in paths}


def _texts(node: Any) -> Iterator[str]:
    """Every text in a config, except the names of classes."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key != "_target_":
                yield from _texts(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _texts(value)
    elif isinstance(node, str):
        yield node


def _files(text: str) -> Iterator[Path]:
    """The file at the path `text`, or all visible files below the folder at this path."""
    try:
        path = Path(text)
        if not text or not path.exists():
            return
    except (OSError, ValueError):  # the text is too long for a path, or contains a null byte
        return
    if path.is_file():
        yield path
        return
    for folder, subfolders, names in os.walk(path, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        files = (Path(folder) / name for name in names if not name.startswith("."))
        yield from (file for file in files if file.is_file())


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}, a file of a task, cannot be read: {error.strerror}.") from error
