"""Copy the source code of lookback to results/.code/ before a study runs.

The jobs of the study import the copy, so editing the source code does not affect a running study.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lookback.storage.atomic import digest, read_json, write_json
from lookback.storage.paths import CODE

PACKAGE = "lookback"
# File name endings of backup files and caches, which are not copied.
LEFT_BEHIND = (".pyc", "~", ".orig", ".rej", ".bak")


def take(root: Path) -> Path:
    """Copy the package lookback and workflow/ from the project folder `root`.

    Returns the folder results/.code/<digest>/, which holds the copy.
    """
    files = dict(sorted(_sources(root)))
    name = digest(
        b"".join(f"{path}\0{digest(content)}\0".encode() for path, content in files.items())
    )
    home = CODE / name
    if not home.exists():
        temporary = CODE / f".{name}.{os.getpid()}"
        for path, content in files.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            (temporary / path).write_bytes(content)
        try:
            temporary.rename(home)
        except OSError:  # another process has created the same folder meanwhile
            shutil.rmtree(temporary)
    _note_commit(root, home)
    return home


def _sources(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file to copy, as its relative path in the copy and its content."""
    for base, place in ((root / "src" / PACKAGE, PACKAGE), (root / "workflow", "workflow")):
        for folder, subfolders, names in os.walk(base):
            subfolders[:] = [
                name for name in subfolders if name[0] != "." and name != "__pycache__"
            ]
            for name in names:
                path = Path(folder) / name
                if not name.startswith(".") and not name.endswith(LEFT_BEHIND):
                    yield f"{place}/{path.relative_to(base).as_posix()}", path.read_bytes()


def _note_commit(root: Path, home: Path) -> None:
    """Write the git commit of the copied code to commit.json in the folder `home`.

    The key `dirty` tells whether the code differs from the commit. An existing commit.json is kept
    if its `dirty` is false, and overwritten otherwise.
    """
    note = home / "commit.json"
    if note.exists() and read_json(note)["dirty"] is False:
        return
    current: dict[str, Any] = {"commit": None, "dirty": None}
    if (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        if commit:
            current = {
                "commit": commit,
                "dirty": bool(_git(root, "status", "--porcelain", "src", "workflow")),
            }
    if not note.exists() or read_json(note) != current:
        write_json(note, current)


def _git(root: Path, *arguments: str) -> str:
    """The output of a git command, or an empty text if git is not installed."""
    try:
        completed = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return completed.stdout.strip()
