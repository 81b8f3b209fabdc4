"""Where MLflow's runs are kept: a store opened, made where there is none, and shown.

Imported by `tracking` alone, which first tells MLflow to send nothing home.
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
    """A client and the id of a study's experiment, held alone.

    MLflow's errors in the block become mistakes that name the URI.
    """
    try:
        with store.alone():
            _make(store)
            client = MlflowClient(store.absolute)
            yield client, _experiment(client, store, study)
    except (MlflowException, OSError) as error:
        if isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE":
            raise  # what was sent was wrong: ours to mend
        cause = store.hidden(str(error).splitlines()[0])
        cure = "Is the server up?" if store.is_server else "Can it be written?"
        raise UserError(
            f"MLflow at {store} took nothing more. {cure} Or name another in MLFLOW_TRACKING_URI; "
            f"tracked again, nothing stands twice. It said: {cause}"
        ) from error


def _make(store: TrackingURI) -> None:
    """Make a SQLite store, whole or not at all: a migration cut short cannot be taken up again."""
    if store.file is not None and not store.file.exists():
        with atomic_write(store.file) as temporary:
            made = SqlAlchemyStore(  # type: ignore[no-untyped-call]
                f"sqlite:///{temporary}", store.artifacts
            )
            made.engine.dispose()


def _experiment(client: MlflowClient, store: TrackingURI, study: Mapping[str, Any]) -> str:
    """The id of the study's experiment, made where there is none."""
    name = study["name"]
    with _one_attempt():
        found = client.get_experiment_by_name(name)
    if found is None:
        place = None if store.artifacts is None else f"{store.artifacts}/{name}"
        # Without its kind MLflow's pages open on traces of language models.
        tags = {
            "mlflow.note.content": study["question"],
            "mlflow.experimentKind": "custom_model_development",
        }
        return str(client.create_experiment(name, place, tags))
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"the experiment '{name}' was deleted from {store}. Bring it back: "
            f"`mlflow experiments restore -x {found.experiment_id}`."
        )
    return str(found.experiment_id)


@contextmanager
def _one_attempt() -> Iterator[None]:
    """Within: no patience with a server that does not answer, unless the environment has some."""
    short = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    ours = {name: value for name, value in short.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def ui(uri: str, port: int) -> None:
    """Become the server of MLflow's pages, on this machine alone.

    Raises UserError where the port is taken, or where the URI is a server already.
    """
    store = TrackingURI(uri)
    if store.is_server:
        raise UserError(f"{store} is a server already: open it in a browser.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                f"port {port} of this machine: {error.strerror}. Give another one: port={port + 1}."
            ) from error
    with store.alone():
        _make(store)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # seven processes that nothing needs
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.absolute]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    if store.artifacts is not None:
        command += ["--artifacts-destination", store.artifacts]
    os.execv(command[0], command)
