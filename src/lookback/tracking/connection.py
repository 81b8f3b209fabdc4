"""Open MLflow's store of runs, create a missing SQLite store, and start MLflow's web server.

The package lookback.tracking disables MLflow's telemetry before this module imports MLflow.
"""

import os
import re
import shlex
import socket
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient, MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from lookback.errors import UserError
from lookback.storage.atomic import atomic_write
from lookback.storage.secrets import VARIABLE, has_secret, without_secrets
from lookback.tracking.artifacts import relocate
from lookback.tracking.uri import WAIT, TrackingURI


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def _wait_for_other_programs(
    connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
) -> tuple[str, Any]:
    """Make MLflow wait `WAIT` seconds for a locked SQLite file.

    MLflow itself waits 20 s and has no setting for that time.
    """
    pragma = r"(PRAGMA busy_timeout\s*=\s*)\d+"
    return re.sub(pragma, rf"\g<1>{WAIT * 1000}", statement), parameters


@contextmanager
def experiment_of(
    store: TrackingURI, study: Mapping[str, Any]
) -> Iterator[tuple[MlflowClient, str]]:
    """Lock the MLflow store, and yield an MLflow client and the id of the study's experiment.

    Raises UserError if MLflow fails inside the `with` block. The error message names the URI.
    """
    with _failures_explained(store), store.locked():
        _open(store)
        client = MlflowClient(_opened_by_mlflow(store))
        yield client, _experiment(client, store, study)


@contextmanager
def _failures_explained(store: TrackingURI) -> Iterator[None]:
    """Raise UserError with the cause and the cure if the store fails inside the `with` block."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        if isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE":
            # If MLflow refuses data as invalid, lookback has a bug: show the original traceback.
            raise
        if store.file is not None and "database is locked" in str(error):
            raise UserError(
                f"another program has locked {store} for more than {WAIT} s, for example a browser "
                f"of databases or a backup.\nClose that program and track again: nothing is lost."
            ) from error
        cause = without_secrets(str(error), store.text).splitlines()[0]
        cure = "Is the server up?" if store.is_server else "Can it be written?"
        raise UserError(
            f"MLflow at {store} failed: {cause}\n{cure} You can name another store in "
            f"{VARIABLE}. Tracking the study again writes no duplicates."
        ) from error


def _opened_by_mlflow(store: TrackingURI) -> str:
    """The URI with which MLflow opens the store.

    A SQLite store gets the time to wait for a locked file, which counts before MLflow sets its own.
    """
    return store.text if store.file is None else f"{store.absolute}?timeout={WAIT}"


def _open(store: TrackingURI) -> None:
    """Create a missing SQLite store, or find the artifacts of a store that was moved or copied.

    The database file appears only after MLflow's schema migration has finished, because MLflow
    cannot resume an interrupted migration. The caller must hold the lock of the store.
    """
    if store.file is None or store.artifacts is None:
        return
    if store.file.exists():
        relocate(store)
        return
    with atomic_write(store.file) as temporary:
        database = SqlAlchemyStore(  # type: ignore[no-untyped-call]
            f"sqlite:///{temporary}", store.artifacts.as_uri()
        )
        database.engine.dispose()


def _experiment(client: MlflowClient, store: TrackingURI, study: Mapping[str, Any]) -> str:
    """The id of the study's MLflow experiment, which is created if it does not exist.

    Raises UserError if the MLflow experiment was deleted.
    """
    name = study["name"]
    with _one_attempt():
        experiment = client.get_experiment_by_name(name)
    if experiment is None:
        artifacts = None if store.artifacts is None else f"{store.artifacts.as_uri()}/{name}"
        # Without an experiment kind, MLflow's web page shows traces of language models first.
        tags = {
            "mlflow.note.content": study["question"],
            "mlflow.experimentKind": "custom_model_development",
        }
        return str(client.create_experiment(name, artifacts, tags))
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the experiment '{name}' was deleted from {store}. Restore it with this command"
            f"{_restore_command(store, experiment.experiment_id)}"
        )
    return str(experiment.experiment_id)


def _restore_command(store: TrackingURI, experiment: str) -> str:
    """The end of a sentence, and a shell command that restores a deleted experiment."""
    mlflow = f"{shlex.quote(sys.executable)} -m mlflow experiments restore -x {experiment}"
    if has_secret(store.text):
        return f", with {VARIABLE} set:\n{mlflow}"
    return f":\n{VARIABLE}={shlex.quote(store.absolute)} {mlflow}"


@contextmanager
def _one_attempt() -> Iterator[None]:
    """Make MLflow send each request once and wait at most 10 s, inside the `with` block.

    A limit that the user has set as an environment variable of MLflow is not changed.
    """
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    unset = {name: value for name, value in limits.items() if name not in os.environ}
    os.environ.update(unset)
    try:
        yield
    finally:
        for name in unset:
            del os.environ[name]


def ui(uri: str, port: int) -> None:
    """Replace this process by MLflow's web server for the store `uri`.

    The web server accepts connections only from this machine (127.0.0.1). Raises UserError if the
    port is in use, or if `uri` is the address of a running server and not of a store.
    """
    store = TrackingURI(uri)
    if store.is_server:
        raise UserError(f"{store} is already a server. Open this address in a browser.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                f"port {port} of this machine: {error.strerror}. Choose another: port={port + 1}."
            ) from error
    with _failures_explained(store), store.locked():
        _open(store)
    # Disable MLflow's job execution, which would start seven processes that lookback never uses.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    # The environment hides the password of a URI; an argument would show it.
    os.environ["MLFLOW_BACKEND_STORE_URI"] = _opened_by_mlflow(store)
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    if store.artifacts is not None:
        command += ["--artifacts-destination", store.artifacts.as_uri()]
    os.execv(command[0], command)
