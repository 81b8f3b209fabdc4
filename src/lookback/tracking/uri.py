"""Where MLflow keeps its runs: a tracking URI, checked before anything is written.

Imports no MLflow.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from lookback.errors import UserError, nearest
from lookback.storage.atomic import digest
from lookback.storage.paths import TRACKING

SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class TrackingURI:
    """A URI that MLflow can write to.

    Raises UserError where it is none, naming the nearest one.
    """

    text: str

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES or (self.scheme == "sqlite" and self.file is None):
            near = nearest(self.scheme, SCHEMES)
            meant = f"Did you mean '{near}'? " if near not in (None, self.scheme) else ""
            raise UserError(
                f"MLflow cannot write to '{self}'. {meant}Name a file, {_SQLITE}results/mlflow.db, "
                "or a server, http://…, in MLFLOW_TRACKING_URI."
            )

    def __str__(self) -> str:
        return self.hidden(self.text)

    def hidden(self, text: str) -> str:
        """A text without the password that the URI may hold."""
        password = urlsplit(self.text).password
        return text.replace(f":{password}@", ":…@") if password else text

    @property
    def absolute(self) -> str:
        """The URI for MLflow, which keeps stores open by name, also after a change of folder."""
        return self.text if self.file is None else f"{_SQLITE}{self.file}"

    @property
    def scheme(self) -> str:
        """What the URI begins with, without a database's driver."""
        return self.text.partition(":")[0].partition("+")[0]

    @property
    def is_server(self) -> bool:
        """Whether a server of MLflow's own answers there."""
        return self.scheme in ("http", "https")

    @property
    def file(self) -> Path | None:
        """The database file of a SQLite store."""
        name = self.text.removeprefix(_SQLITE).partition("?")[0]
        return Path(name).resolve() if name and self.text.startswith(_SQLITE) else None

    @property
    def artifacts(self) -> str | None:
        """Where artifacts go, beside a SQLite store; any other has a place of its own."""
        return None if self.file is None else (self.file.parent / "mlartifacts").as_uri()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the store; waits for another tracker of this project. A kill frees it."""
        TRACKING.mkdir(parents=True, exist_ok=True)
        with FileLock(TRACKING / f"{digest(str(self.file or self.text))}.lock"):
            yield
