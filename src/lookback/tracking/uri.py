"""Check MLflow's tracking URI, which is the address of a database or of an MLflow server.

This module does not import MLflow.
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

    Raises UserError if MLflow cannot write to the URI `text`. The error message suggests the
    nearest valid URI scheme.
    """

    text: str

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES or (self.scheme == "sqlite" and self.file is None):
            near = nearest(self.scheme, SCHEMES)
            hint = f"Did you mean '{near}'? " if near not in (None, self.scheme) else ""
            raise UserError(
                f"MLflow cannot write to '{self}'. {hint}Set MLFLOW_TRACKING_URI to a file, "
                f"e.g. {_SQLITE}results/mlflow.db, or to a server, e.g. http://127.0.0.1:5000."
            )

    def __str__(self) -> str:
        return self.without_password(self.text)

    def without_password(self, text: str) -> str:
        """`text` with the URI's password, if there is one, replaced by «…»."""
        password = urlsplit(self.text).password
        return text.replace(f":{password}@", ":…@") if password else text

    @property
    def absolute(self) -> str:
        """The URI, with an absolute path if it names a SQLite file.

        MLflow caches open stores by URI. After a change of the working directory, a relative
        path would therefore still give the store in the old working directory.
        """
        return self.text if self.file is None else f"{_SQLITE}{self.file}"

    @property
    def scheme(self) -> str:
        """The URI's scheme without the database driver, such as «mysql» for «mysql+pymysql://…»."""
        return self.text.partition(":")[0].partition("+")[0]

    @property
    def is_server(self) -> bool:
        """Whether the URI is the address of an MLflow server and not of a database."""
        return self.scheme in ("http", "https")

    @property
    def file(self) -> Path | None:
        """The path of the database file of a SQLite store, or None for every other store."""
        name = self.text.removeprefix(_SQLITE).partition("?")[0]
        return Path(name).resolve() if name and self.text.startswith(_SQLITE) else None

    @property
    def artifacts(self) -> str | None:
        """The URI of the folder `mlartifacts` beside the database file of a SQLite store.

        Returns None for every other store, because a server or another database has its own setting
        for the location of artifacts.
        """
        return None if self.file is None else (self.file.parent / "mlartifacts").as_uri()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the store inside the `with` block against other processes of this project.

        If another process holds the lock, this process waits. The operating system
        releases the lock of a killed process.
        """
        TRACKING.mkdir(parents=True, exist_ok=True)
        with FileLock(TRACKING / f"{digest(str(self.file or self.text))}.lock"):
            yield
