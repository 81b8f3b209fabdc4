"""Check MLflow's tracking URI, which is the address of a database or of an MLflow server.

This module does not import MLflow.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from lookback.errors import UserError, nearest
from lookback.storage.atomic import digest
from lookback.storage.paths import TRACKING
from lookback.storage.secrets import VARIABLE, redacted

DATABASES = ("postgresql", "mysql", "mssql")
SCHEMES = ("sqlite", "http", "https", *DATABASES, "databricks")
ARTIFACTS = "mlartifacts"  # the folder of artifacts beside the database file of a SQLite store
WAIT = 120  # seconds to wait for another program that holds the database file of a SQLite store
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class TrackingURI:
    """A URI that MLflow can write to.

    As a string, the URI is shown without its password or token. Raises UserError if MLflow cannot
    write to the URI `text`. The error message suggests the nearest valid URI scheme.
    """

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        fault = self._fault()
        if fault is not None:
            raise UserError(
                f"MLflow cannot write to '{self}'. {fault}Set {VARIABLE} to a file, "
                f"e.g. {_SQLITE}results/mlflow.db, or to a server, e.g. http://127.0.0.1:5000."
            )

    def __str__(self) -> str:
        return redacted(self.text)

    def _fault(self) -> str | None:
        """Why MLflow cannot write to the URI, as a sentence or nothing. None if MLflow can."""
        if self.scheme not in SCHEMES:
            near = nearest(self.scheme, SCHEMES)
            return f"Did you mean '{near}'? " if near else ""
        if self.scheme == "sqlite" and self.file is None:
            return f"The path of the file must follow '{_SQLITE}'. "
        if self.file is not None and self.file.is_dir():
            return "The path is a folder. "
        if self.is_server and not _has_host(self.text):
            return "A host, with or without a port number, must follow '://'. "
        return _driver_fault(self.text) if self.scheme in DATABASES else None

    @property
    def absolute(self) -> str:
        """The URI that MLflow opens. For a SQLite file, it has an absolute path and no query.

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
    def artifacts(self) -> Path | None:
        """The folder of artifacts beside the database file of a SQLite store.

        Returns None for every other store, because a server or another database has its own setting
        for the location of artifacts.
        """
        return None if self.file is None else self.file.parent / ARTIFACTS

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the store inside the `with` block against other processes of this project.

        If another process holds the lock, this process waits. The operating system
        releases the lock of a killed process.
        """
        TRACKING.mkdir(parents=True, exist_ok=True)
        with FileLock(TRACKING / f"{digest(str(self.file or self))}.lock"):
            yield


def _has_host(uri: str) -> bool:
    """Whether the address of a server has a host, and a port that is a number if there is one."""
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _driver_fault(uri: str) -> str | None:
    """Why SQLAlchemy cannot open a database, as a sentence. None if the driver is installed."""
    # Only a project with such a database pays for the import, which takes 0.2 s.
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        return f"The driver of the database is not installed ({error}). "
    except (ArgumentError, ValueError):
        return "SQLAlchemy knows no such database or driver. "
    return None
