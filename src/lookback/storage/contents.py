"""Lists of the files that belong to a result, with the size and the digest of each file.

A stage writes the list last, into the file that marks the result as finished. A file that a power
cut emptied, that a user deleted or that was copied only in part is found by comparing the file with
its entry in the list. This module does not import numpy, because planning uses this module and must
start quickly.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Contents = dict[str, dict[str, Any]]  # relative path of a file -> its "size" and "digest"


def contents_of(folder: Path, files: Iterable[Path]) -> Contents:
    """The size in bytes and the SHA-256 digest of each of `files`, which lie below `folder`."""
    return {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "digest": _digest(path),
        }
        for path in sorted(files)
    }


def have_sizes(folder: Path, contents: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every file in the list exists below `folder` with the size in the list.

    The check takes some microseconds per file, because it reads no file.
    """
    try:
        return all(
            (folder / name).stat().st_size == entry["size"] for name, entry in contents.items()
        )
    except OSError:
        return False


def have_digests(folder: Path, contents: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every file in the list exists below `folder` with the content in the list."""
    return have_sizes(folder, contents) and all(
        _digest(folder / name) == entry["digest"] for name, entry in contents.items()
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
