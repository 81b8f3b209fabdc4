"""Find receipts of tracking whose runs are no longer in MLflow's store.

A receipt lists the MLflow runs that stage `track` wrote. A user can delete the store, a run or the
artifacts, and Snakemake does not see that. So Snakemake's main process asks the store when it plans
a study. This module imports neither MLflow nor pandas.
"""

import base64
import http.client
import json
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from lookback.storage.atomic import read_json
from lookback.storage.study_paths import StudyPaths
from lookback.tracking.artifacts import count_files, local_folder
from lookback.tracking.uri import DATABASES, TrackingURI

# Tag of an MLflow run: the number of files that were uploaded as artifacts.
FILES = "files"
PATIENCE = 3  # seconds that planning waits for an answer of the store
RUNS_PER_PAGE = 1000
# For each run: its id, its location of artifacts, and its tag FILES.
_QUERY = f"""
    SELECT runs.run_uuid, runs.artifact_uri, tags.value
    FROM runs LEFT JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = '{FILES}'
    WHERE runs.lifecycle_stage = 'active' AND runs.experiment_id = """
Run = tuple[str, str, str | None]


def repeat_lost_tracking(index: Path, uri: str) -> None:
    """Make Snakemake run stage `track` again if the receipt of a study no longer holds.

    `index` is the index file of the study and `uri` the URI of MLflow's store. The time stamp of
    the plan file of stage `track` is set to the current time, because Snakemake repeats a job whose
    input is newer than its output.
    """
    planned = read_json(index)
    receipt = StudyPaths.of(planned["study"]["name"]).receipt(planned["receipt"])
    if receipt.exists() and not is_held(receipt, uri):
        os.utime(planned["track"]["plan"])


def is_held(receipt: Path, uri: str) -> bool:
    """Whether the store `uri` still holds all that the file `receipt` says.

    Returns False if the receipt is damaged, if a run is missing or deleted, or if artifacts in the
    folder beside a SQLite store are missing. Returns True if the store cannot be asked, for example
    because a server is down. Raises UserError if MLflow cannot write to the URI.
    """
    content, store = read_receipt(receipt), TrackingURI(uri)
    if content is None:
        return False
    wanted = run_ids(content)
    try:
        runs = _active_runs(store, str(content["experiment_id"]))
    except _CannotAsk:
        return True
    return wanted <= set(runs) and all(_has_artifacts(store, *runs[run]) for run in wanted)


def read_receipt(path: Path) -> dict[str, Any] | None:
    """The content of a receipt, or None if the file is damaged or does not exist."""
    try:
        receipt = read_json(path)
        run_ids(receipt)
        complete = {"uri", "experiment_id", "plans"} <= set(receipt)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(receipt) if complete else None


def run_ids(receipt: Mapping[str, Any]) -> set[str]:
    """The ids of all MLflow runs in the content of a receipt."""
    cells = receipt["runs"].values()
    return {run for cell in cells for run in (cell["parent"], *cell["seeds"].values())}


class _CannotAsk(Exception):
    """Raised if a store does not answer, so that nothing is known about its runs."""


def _active_runs(store: TrackingURI, experiment: str) -> dict[str, tuple[str, str | None]]:
    """Location of artifacts and number of files of each run that is not deleted, by run id.

    Raises _CannotAsk if the store does not answer.
    """
    if store.file is not None:
        found = _runs_in_file(store.file, experiment)
    elif store.is_server:
        found = _runs_on_server(store, experiment)
    elif store.scheme in DATABASES:
        found = _runs_in_database(store.text, experiment)
    else:
        raise _CannotAsk
    return {run: (location, files) for run, location, files in found}


def _runs_in_file(file: Path, experiment: str) -> Iterable[Run]:
    if not file.exists():
        return []
    address = f"file:{quote(str(file))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE)) as database:
            return database.execute(_QUERY + "?", (experiment,)).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise _CannotAsk from error
    except sqlite3.DatabaseError:
        return []  # the file is damaged


def _runs_in_database(uri: str, experiment: str) -> Iterable[Run]:
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri)
        try:
            with engine.connect() as connection:
                query = sqlalchemy.text(_QUERY + ":experiment")
                rows = connection.execute(query, {"experiment": int(experiment)})
                return [(run, location, files) for run, location, files in rows]
        finally:
            engine.dispose()
    except Exception as error:  # each driver has its own exceptions
        raise _CannotAsk from error


def _runs_on_server(store: TrackingURI, experiment: str) -> Iterable[Run]:
    query: dict[str, Any] = {"experiment_ids": [experiment], "max_results": RUNS_PER_PAGE}
    query["run_view_type"] = "ACTIVE_ONLY"
    found: list[Run] = []
    while True:
        page = _ask(store.text, "runs/search", query)
        try:
            found += [
                (run["info"]["run_id"], run["info"]["artifact_uri"], None)
                for run in page.get("runs", [])
            ]
            query["page_token"] = page.get("next_page_token")
        except (KeyError, TypeError, AttributeError) as error:  # not a server of MLflow
            raise _CannotAsk from error
        if not query["page_token"]:
            return found


def _ask(uri: str, method: str, query: Mapping[str, Any]) -> Any:
    """The answer of an MLflow server. Raises _CannotAsk if the server does not answer."""
    try:
        parts = urlsplit(uri)
        host = parts.netloc.rpartition("@")[2]
        address = f"{parts.scheme}://{host}{parts.path.rstrip('/')}/api/2.0/mlflow/{method}"
        body = json.dumps(query).encode()
        headers = {
            "Content-Type": "application/json",
            **_authorization(parts.username, parts.password),
        }
        request = urllib.request.Request(address, body, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404 and b"RESOURCE_DOES_NOT_EXIST" in error.read():
            return {}
        raise _CannotAsk from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _CannotAsk from error


def _authorization(user: str | None, password: str | None) -> dict[str, str]:
    """The header with which MLflow's own client signs in, from the URI or from the environment."""
    user = unquote(user) if user else os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = unquote(password) if password else os.environ.get("MLFLOW_TRACKING_PASSWORD")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if user:
        signed = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
        return {"Authorization": f"Basic {signed}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _has_artifacts(store: TrackingURI, location: str, files: str | None) -> bool:
    """Whether the artifacts of a run are complete; True if they are not on this machine."""
    folder = local_folder(location, store) if store.file is not None else None
    return folder is None or count_files(folder) >= int(files or 0)
