"""Copy the source code of lookback to results/.code/ before a study runs.

The jobs of the study import the copy, so editing the source code does not affect a running study.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lookback.errors import UserError
from lookback.storage.atomic import atomic_write, digest, read_json, write_json
from lookback.storage.paths import CODE

PACKAGE = "lookback"
# File name endings of backup files and caches, which are not copied.
LEFT_BEHIND = (".pyc", "~", ".orig", ".rej", ".bak")


def take(root: Path) -> Path:
    """Copy the package lookback and workflow/ from the project folder `root`.

    Returns the folder results/.code/<digest>/, which holds the copy. The copy is on the disk before
    it gets this name, so a power cut leaves no incomplete copy. If the folder exists, each file
    whose content is wrong or missing is written again. Raises UserError if a file or folder cannot
    be read, and OSError if the copy cannot be written.
    """
    files = dict(sorted(_sources(root)))
    name = digest(
        b"".join(f"{path}\0{digest(content)}\0".encode() for path, content in files.items())
    )
    home = CODE / name
    if not home.exists():
        _copy(files, home)
    _repair(files, home)
    _note_commit(root, home)
    return home


def _copy(files: Mapping[str, bytes], home: Path) -> None:
    """Write `files` into the new folder `home`, which is complete as soon as it exists."""
    temporary = home.with_name(f".{home.name}.{os.getpid()}")
    try:
        for path, content in files.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            with (temporary / path).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for folder, _, _ in os.walk(temporary):
            _sync_folder(Path(folder))
        temporary.rename(home)
        _sync_folder(home.parent)
    except OSError as error:
        if not home.is_dir():  # otherwise another process has created the same folder meanwhile
            error.filename = str(home)  # the error message must not name a file that is removed
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _repair(files: Mapping[str, bytes], home: Path) -> None:
    """Write each file of the copy `home` whose content differs from `files`.

    A job may read the copy at the same time, so each file is replaced as a whole.
    """
    for name, content in files.items():
        path = home / name
        if not path.is_file() or path.read_bytes() != content:
            with atomic_write(path) as temporary:
                temporary.write_bytes(content)
            _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Write the names of the files of a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sources(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file to copy, as its relative path in the copy and its content.

    Links are followed. Raises UserError if a file is not a plain file or cannot be read.
    """
    for base, place in ((root / "src" / PACKAGE, PACKAGE), (root / "workflow", "workflow")):
        for path in _files(base, (), root):
            yield f"{place}/{path.relative_to(base).as_posix()}", _content(path, root)


def _files(folder: Path, above: tuple[Path, ...], root: Path) -> Iterator[Path]:
    """Every file in a folder that counts as code, at any depth.

    `above` are the real paths of the folders around `folder`. Raises UserError if a link leads to
    one of these folders, or if a folder cannot be read.
    """
    if folder.resolve() in above:
        raise UserError(f"{folder.relative_to(root)} is a link to a folder that contains it.")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, root, error.strerror) from error
    for path in entries:
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            if not path.name.endswith(LEFT_BEHIND):
                yield path
        elif path.name != "__pycache__":
            yield from _files(path, (*above, folder.resolve()), root)


def _content(path: Path, root: Path) -> bytes:
    """The content of a file. Raises UserError if the file is not a plain file or not readable."""
    try:
        str(path).encode()
        # Only a plain file is opened, because opening a FIFO would wait for ever.
        if stat.S_ISREG(path.stat().st_mode):
            return path.read_bytes()
    except FileNotFoundError as error:
        raise _unreadable(path, root, "it is a link to a file that does not exist") from error
    except OSError as error:
        raise _unreadable(path, root, error.strerror) from error
    except UnicodeEncodeError as error:
        raise _unreadable(path, root, "its name is not UTF-8") from error
    raise _unreadable(path, root, "it is neither a file nor a folder")


def _unreadable(path: Path, root: Path, reason: str | None) -> UserError:
    name = os.fsencode(path.relative_to(root)).decode(errors="backslashreplace")
    return UserError(
        f"{name} cannot be copied: {reason}. A study runs a copy of src/{PACKAGE}/ and workflow/; "
        "remove or repair the file."
    )


def _note_commit(root: Path, home: Path) -> None:
    """Write the git commit of the copied code to commit.json in the folder `home`.

    The key `dirty` tells whether the code differs from the commit. An existing commit.json is kept
    if its `dirty` is false, and overwritten otherwise.
    """
    note = home / "commit.json"
    try:
        before = read_json(note)
    except (FileNotFoundError, ValueError):  # not there, or damaged
        before = None
    if isinstance(before, dict) and before.get("dirty") is False:
        return
    current: dict[str, Any] = {"commit": None, "dirty": None}
    if (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        if commit:
            current = {
                "commit": commit,
                "dirty": bool(_git(root, "status", "--porcelain", "src", "workflow")),
            }
    if before != current:
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
