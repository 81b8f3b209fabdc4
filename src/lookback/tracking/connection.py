"""Open MLflow's store of runs, create a missing SQLite store, and start MLflow's web server.

The package lookback.tracking disables MLflow's telemetry before this module imports MLflow.
"""

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient, MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from lookback.errors import UserError
from lookback.storage.atomic import atomic_write
from lookback.tracking.uri import TrackingURI


@contextmanager
def experiment_of(
    store: TrackingURI, study: Mapping[str, Any]
) -> Iterator[tuple[MlflowClient, str]]:
    """Lock the MLflow store, and yield an MLflow client and the id of the study's experiment.

    Raises UserError if MLflow fails inside the `with` block. The error message names the URI.
    """
    try:
        with store.locked():
            _create_store(store)
            client = MlflowClient(store.absolute)
            yield client, _experiment(client, store, study)
    except (MlflowException, OSError) as error:
        if isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE":
            # If MLflow refuses data as invalid, lookback has a bug: show the original traceback.
            raise
        cause = store.without_password(str(error).splitlines()[0])
        cure = "Is the server up?" if store.is_server else "Can it be written?"
        raise UserError(
            f"MLflow at {store} failed: {cause}\n{cure} You can name another store in "
            "MLFLOW_TRACKING_URI. Tracking the study again writes no duplicates."
        ) from error


def _create_store(store: TrackingURI) -> None:
    """Create the database file of a SQLite store if the file does not exist.

    The database file appears only after MLflow's schema migration has finished, because MLflow
    cannot resume an interrupted migration.
    """
    if store.file is not None and not store.file.exists():
        with atomic_write(store.file) as temporary:
            database = SqlAlchemyStore(  # type: ignore[no-untyped-call]
                f"sqlite:///{temporary}", store.artifacts
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
        artifacts = None if store.artifacts is None else f"{store.artifacts}/{name}"
        # Without an experiment kind, MLflow's web page shows traces of language models first.
        tags = {
            "mlflow.note.content": study["question"],
            "mlflow.experimentKind": "custom_model_development",
        }
        return str(client.create_experiment(name, artifacts, tags))
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the experiment '{name}' was deleted from {store}. Restore it with "
            f"`mlflow experiments restore -x {experiment.experiment_id}`."
        )
    return str(experiment.experiment_id)


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
    with store.locked():
        _create_store(store)
    # Disable MLflow's job execution, which would start seven processes that lookback never uses.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.absolute]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    if store.artifacts is not None:
        command += ["--artifacts-destination", store.artifacts]
    os.execv(command[0], command)
