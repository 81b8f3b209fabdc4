"""The folder `mlartifacts` beside the database file of a SQLite store.

MLflow's database holds absolute paths of artifacts. If a store was moved or copied, these paths
still lead to the old folder. `relocate` changes such paths, so that the artifacts of a store always
lie beside the store. This module does not import MLflow.
"""

import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

from lookback.tracking.uri import ARTIFACTS, WAIT, TrackingURI

# The columns of MLflow's tables that hold the location of artifacts.
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
# A location that lookback chose: …/mlartifacts/<experiment>, with the folders of a run or a model.
_SHAPE = re.compile(rf"(?P<root>(?:file://)?/.*/{ARTIFACTS}|(?:file://)?/{ARTIFACTS})/(?P<rest>.+)")


def relocate(store: TrackingURI) -> None:
    """Make the artifact locations of a SQLite store lead to the folder beside the store.

    Artifacts that exist only in the old folder are copied; the old folder stays unchanged. The
    caller must hold the lock of the store. Prints one line if a location changed. Raises OSError
    if artifacts cannot be copied, and sqlite3.Error if the database cannot be read or written.
    """
    if store.file is None or store.artifacts is None:
        return
    with closing(sqlite3.connect(store.file, timeout=WAIT)) as database:
        changes = list(_changes(database, store.artifacts))
        if not changes:
            return
        for table, _, _, old, new in changes:
            if table != "experiments":  # the folder of an experiment may hold runs of other stores
                _copy_if_missing(_path(old), _path(new), store.artifacts)
        with database:
            for table, column, row, _, new in changes:
                database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, row))
    roots = sorted({str(_path(match["root"])) for *_, old, _ in changes if (match := _shape(old))})
    print(
        f"lookback: {store} was moved or copied; its artifacts are now those in "
        f"{store.artifacts}, no longer those in {', '.join(roots)}",
        file=sys.stderr,
    )


def local_folder(location: str, store: TrackingURI) -> Path | None:
    """The folder of a run's artifacts on this machine, or None if MLflow keeps them elsewhere.

    `location` is the location in the database. A location that lookback chose lies beside the
    store, even if the store was moved and the database not yet changed.
    """
    if store.artifacts is not None and _shape(location):
        return _path(_beside(location, store.artifacts))
    is_path = location.startswith(("/", "file:///"))
    return _path(location) if is_path else None


def count_files(folder: Path) -> int:
    """The number of files in a folder and its subfolders, 0 if the folder does not exist."""
    return sum(len(files) for _, _, files in os.walk(folder))


def _shape(location: str) -> re.Match[str] | None:
    return _SHAPE.fullmatch(location)


def _changes(
    database: sqlite3.Connection, artifacts: Path
) -> Iterator[tuple[str, str, int, str, str]]:
    """Table, column, row, old location and new location of each location to be changed."""
    known = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if ("experiments",) not in known:
        return
    experiments = {
        str(value)
        for row in database.execute("SELECT experiment_id, name FROM experiments")
        for value in row
    }
    for table, column in COLUMNS:
        if (table,) not in known:
            continue
        names = [info[1] for info in database.execute(f"PRAGMA table_info({table})")]
        if column not in names:
            continue
        where = f"{column} LIKE '%{ARTIFACTS}/%'"
        if table == "trace_tags":
            where += " AND key = 'mlflow.artifactLocation'"
        query = f"SELECT rowid, {column} FROM {table} WHERE {where}"
        for row, location in database.execute(query).fetchall():
            match = _shape(location)
            if match and match["rest"].split("/")[0] in experiments:
                new = _beside(location, artifacts)
                if _path(new) != _path(location):
                    yield table, column, row, location, new


def _beside(location: str, artifacts: Path) -> str:
    """The location, a URI or a path as before, with the folder `artifacts` as its root."""
    rest = _SHAPE.sub(r"\g<rest>", location)
    root = artifacts.as_uri() if location.startswith("file:") else str(artifacts)
    return f"{root}/{rest}"


def _path(location: str) -> Path:
    return Path(unquote(location.removeprefix("file://")) if "://" in location else location)


def _copy_if_missing(old: Path, new: Path, root: Path) -> None:
    """Copy a folder of artifacts that exists only at the old place, completely or not at all."""
    if new.exists() or not old.exists():
        return
    temporary = root / f".copy-{quote(str(new.relative_to(root)), safe='')}"
    shutil.rmtree(temporary, ignore_errors=True)
    (shutil.copytree if old.is_dir() else shutil.copyfile)(old, temporary)
    new.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, new)
