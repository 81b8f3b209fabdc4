"""What a SQLite store and its artifacts hold, with run ids told as what they stand for."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

COLUMNS = {
    "runs": "run_uuid, name, status, start_time, end_time, lifecycle_stage",
    "metrics": "run_uuid, key, value, timestamp, step, is_nan",
    "latest_metrics": "run_uuid, key, value, timestamp, step, is_nan",
    "params": "run_uuid, key, value",
    "tags": "run_uuid, key, value",
}


def rows(database: str = "results/mlflow.db") -> dict[str, list[tuple[object, ...]]]:
    """The rows that tracking writes, by table, sorted; and the artifacts' paths."""
    with closing(sqlite3.connect(database)) as connection:
        names = _names(connection)
        tables = {
            table: [
                tuple(_named(value, names) for value in row)
                for row in connection.execute(f"SELECT {columns} FROM {table}")
            ]
            for table, columns in COLUMNS.items()
        }
        places = connection.execute("SELECT run_uuid, artifact_uri FROM runs").fetchall()
    tables["artifacts"] = [
        (names[run], str(path.relative_to(root)))
        for run, place in places
        for root in [Path(unquote(place.removeprefix("file://")))]
        for path in root.rglob("*")
        if path.is_file()
    ]
    return {table: sorted(found, key=repr) for table, found in tables.items()}


def count(database: str = "results/mlflow.db") -> int:
    """All rows of all tables."""
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        return sum(connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for (t,) in tables)


def _names(connection: sqlite3.Connection) -> dict[str, str]:
    names: dict[str, str] = {}
    for key in ("cell", "seed", "plan"):
        for run, value in connection.execute(
            "SELECT run_uuid, value FROM tags WHERE key = ?", (key,)
        ):
            names[run] = f"{names.get(run, '')} {key} {value}"
    return names


def _named(value: object, names: dict[str, str]) -> object:
    if isinstance(value, str):
        for run, name in names.items():
            value = value.replace(run, name)
    return value
