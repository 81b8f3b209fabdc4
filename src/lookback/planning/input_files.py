"""Finds the files that a config names, so that a change of their content reruns the stages.

A setting names a file if its value is the path of an existing file or folder. A relative path
starts at the project's folder, in which every stage runs.
"""

import hashlib
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lookback.errors import UserError


def input_files(config: Any) -> dict[str, str]:
    """The SHA-256 digest of each file that a setting in `config` names, by the path of the file.

    If a setting names a folder, all files below the folder are included, except hidden files.
    Links are followed. Raises UserError if a file or folder cannot be read, or if a link leads to a
    folder that contains the link.
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
    yield from _files_below(path, ())


def _files_below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """All visible files below a folder.

    `above` are the real paths of the folders around `folder`. Raises UserError if `folder` is a
    link to one of these folders, or cannot be read.
    """
    here = folder.resolve()
    if here in above:
        raise UserError(
            f"{folder}, a folder of a task, is a link to a folder that contains it. "
            "Remove the link."
        )
    try:
        visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        modes = [path.stat().st_mode if path.exists() else 0 for path in visible]
    except OSError as error:
        raise _unreadable(folder, "folder", error) from error
    for path, mode in zip(visible, modes, strict=True):
        if stat.S_ISREG(mode):
            yield path
        elif stat.S_ISDIR(mode):
            yield from _files_below(path, (*above, here))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, "file", error) from error


def _unreadable(path: Path, kind: str, error: OSError) -> UserError:
    return UserError(f"{path}, a {kind} of a task, cannot be read: {error.strerror}.")
