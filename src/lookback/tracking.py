"""Stage `track`: writes a study to MLflow. The only file that imports it.

One experiment a study, one run a cell, one nested run a seed. A run is known by its tags (cell,
seed, plan, project), a point by its name and step: written again, a study adds nothing, and a
tracker that was killed goes on where it was. Runs of this project that the study no longer means
are tagged `superseded`. A run without a project is of an older lookback: the first project that
means its cell, seed and plan takes it for its own, and nobody else touches it.
"""

import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lookback.errors import Mistake
from lookback.files import digest, read_json, whole, write_json
from lookback.project import identity
from lookback.records import Point, Record, cells_of_study, finished, journals, started
from lookback.tracking_uri import TrackingURI

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import mlflow.pyfunc
import numpy as np
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.models import Model, ModelSignature
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.types import Schema, TensorSpec

KNOWN_BY = ("cell", "seed", "plan", "project")
PAGE = 1000  # runs in one answer
POINTS, PARAMS = 800, 100  # in one call, which takes 100 params, 100 tags and 1,000 of all
LONGEST = 6000  # characters of a param
# Named here, since MLflow would else load every model in a process of its own to find them out.
REQUIREMENTS = ("mlflow", "torch", "numpy", "hydra-core", "jaxtyping", "pyyaml")

Key = tuple[str | None, ...]  # the values of KNOWN_BY


def main(plan: Path, uri: str, out: Path) -> None:
    """Write all that is there of the study of `plan` to MLflow at `uri`, and a receipt to `out`.

    Raises Mistake where the URI is none or cannot be reached.
    """
    document, store = read_json(plan), TrackingURI(uri)
    families = list(finished(document))
    with _writing(store, document["study"]) as study:
        runs = {parent.tags["cell"]: study.complete(parent, seeds) for parent, seeds in families}
        study.supersede_others()
    receipt = {"uri": str(store), "experiment_id": study.experiment, "runs": runs}
    write_json(out, {"plans": {"track": plan.stem}, **receipt})


def follow(plan: Path, uri: str, stop: Callable[[], bool], interval: float) -> None:
    """Write what training says while it says it, every `interval` seconds, until `stop()`.

    Raises Mistake where the URI is none or cannot be reached.
    """
    document, store = read_json(plan), TrackingURI(uri)
    seen: dict[Path, int] = {}
    while True:
        last = stop()  # asked first, so that what came before it is still written
        paths = (path for cell in cells_of_study(document) for path in journals(cell).values())
        sizes = {path: path.stat().st_size for path in paths if path.exists()}
        if sizes != seen:
            families = list(started(document))
            with _writing(store, document["study"]) as study:
                for parent, seeds in families:
                    study.show(parent, seeds)
            seen = sizes
        if last:
            return
        time.sleep(interval)


def ui(uri: str, port: int) -> None:
    """Become the server of MLflow's pages, on this machine alone.

    Raises Mistake where the port is taken, or where the URI is a server already.
    """
    store = TrackingURI(uri)
    if store.is_server:
        raise Mistake(f"{store} is a server already: open it in a browser.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Mistake(
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


class _Study:
    """A study's experiment, with the runs that it had when it was opened."""

    def __init__(self, client: MlflowClient, experiment: str):
        self.client = client
        self.experiment = experiment
        self.meant: set[Key] = set()
        self.runs: dict[Key, Run] = {}
        token: str | None = None
        while True:
            page = client.search_runs([experiment], max_results=PAGE, page_token=token)
            self.runs |= {_key(run.data.tags): run for run in page if "cell" in run.data.tags}
            token = page.token
            if not token:
                break

    def complete(self, parent: Record, seeds: list[Record]) -> dict[str, Any]:
        """Write a cell and its seeds; the ids of their runs."""
        run = self.run(parent)
        nested = {seed.tags["seed"]: self.run(seed, run) for seed in seeds}
        for seed in seeds:
            self.write(nested[seed.tags["seed"]], seed)
        self.write(run, parent)
        return {
            "parent": run.info.run_id,
            "seeds": {seed: child.info.run_id for seed, child in nested.items()},
        }

    def show(self, parent: Record, seeds: list[Record]) -> None:
        """Write the new points of the learning curves of a cell."""
        for seed in seeds:
            run = self.run(seed, self.run(parent))
            if new := self.new_points(run, seed.curves):
                self.send(run, new, {}, {})
                if run.info.status != "RUNNING":
                    self.client.update_run(run.info.run_id, status="RUNNING")

    def run(self, record: Record, parent: Run | None = None) -> Run:
        """The run of a record, made where there is none."""
        key = _key(record.tags)
        self.meant.add(key)
        if key not in self.runs and (*key[:-1], None) in self.runs:
            self.runs[key] = self.runs.pop((*key[:-1], None))
            self.client.set_tag(self.runs[key].info.run_id, "project", key[-1])
        if key not in self.runs:
            seed = record.tags.get("seed")
            name = record.tags["cell"] if seed is None else f"{record.tags['cell']} seed {seed}"
            tags = {**record.tags, "mlflow.runName": name, "mlflow.source.name": "lookback"}
            if parent is not None:
                tags["mlflow.parentRunId"] = parent.info.run_id
            self.runs[key] = self.client.create_run(self.experiment, record.start, tags)
        return self.runs[key]

    def write(self, run: Run, record: Record) -> None:
        """Write what a run lacks. The tag `written` comes last: where it is right, all is."""
        content, status = _content(record), "FAILED" if record.missing else "FINISHED"
        self.untag(run, "superseded")
        if run.data.tags.get("written") == content and run.info.status == status:
            return
        tags = {**record.notes, **self.upload(run, record), "written": content}
        if record.missing:
            tags["missing"] = record.missing[:LONGEST]
        else:
            self.untag(run, "missing")
        points = [*self.new_points(run, record.curves), *self.new_results(run, record.results)]
        params = {name: text for name, text in record.params.items() if name not in run.data.params}
        self.send(run, points, params, tags)
        self.client.set_terminated(run.info.run_id, status, record.end)

    def new_points(self, run: Run, points: Sequence[Point]) -> list[Point]:
        """The points whose name and step are not there yet."""
        names = {point.name for point in points} & run.data.metrics.keys()
        there = {(name, metric.step) for name in names for metric in self.history(run, name)}
        return [point for point in points if (point.name, point.step) not in there]

    def new_results(self, run: Run, points: Sequence[Point]) -> list[Point]:
        """The numbers that are not the latest there, at a time that makes them so."""
        new = []
        for point in points:
            if run.data.metrics.get(point.name) != point.value:
                past = self.history(run, point.name) if point.name in run.data.metrics else []
                times = [point.time, *(metric.timestamp + 1 for metric in past)]
                new.append(replace(point, time=max(times)))
        return new

    def history(self, run: Run, name: str) -> list[Metric]:
        """All that is there of a metric."""
        return list(self.client.get_metric_history(run.info.run_id, name))

    def send(
        self,
        run: Run,
        points: Sequence[Point],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """Log in as few calls as MLflow allows; it writes params, then points, then tags."""
        metrics = [Metric(point.name, point.value, point.time, point.step) for point in points]
        settings = [Param(name, text[:LONGEST]) for name, text in params.items()]
        marks = [RunTag(*tag) for tag in tags.items()]
        calls = max(-(-len(metrics) // POINTS), -(-len(settings) // PARAMS), 1)
        for call in range(calls):
            self.client.log_batch(
                run.info.run_id,
                metrics[call * POINTS : (call + 1) * POINTS],
                settings[call * PARAMS : (call + 1) * PARAMS],
                marks if call == calls - 1 else [],
            )

    def upload(self, run: Run, record: Record) -> dict[str, str]:
        """Send a record's files and model; the tags that tell MLflow of the model."""
        tags = {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for artifact, file in record.files.items():
                (folder / artifact).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / artifact)
            if record.model:
                model = _save_model(folder / "model", record, run.info.run_id)
                tags["mlflow.log-model.history"] = json.dumps([model.get_tags_dict()])
            self.client.log_artifacts(run.info.run_id, name)
        return tags

    def untag(self, run: Run, tag: str) -> None:
        """Take a tag away where it is."""
        if tag in run.data.tags:
            self.client.delete_tag(run.info.run_id, tag)

    def supersede_others(self) -> None:
        """Tag this project's runs of an older plan, and of what the study dropped."""
        own = {key for key in self.runs if key[-1] == identity()}
        for key in own - self.meant:
            run = self.runs[key]
            if run.data.tags.get("superseded") != "true":
                self.client.set_tag(run.info.run_id, "superseded", "true")
            if run.info.status == "RUNNING":
                self.client.set_terminated(run.info.run_id, "KILLED")


def _key(tags: Mapping[str, str]) -> Key:
    return tuple(tags.get(name) for name in KNOWN_BY)


def _content(record: Record) -> str:
    """A digest of all that a record says, but for times."""
    points = [(point.name, point.step, point.value) for point in record.curves + record.results]
    files = {**record.files, **{f"model/{name}": path for name, path in record.model.items()}}
    digests = {name: digest(path.read_bytes()) for name, path in files.items()}
    return digest(json.dumps([record.missing, record.notes, record.params, points, digests]))


def _save_model(folder: Path, record: Record, run_id: str) -> Model:
    """Make the folder that `mlflow.pyfunc.load_model` reads: lookback.predictor and its files."""
    facts = read_json(record.model["task.json"])
    dtype = np.dtype(np.int64 if facts["tokens"] else np.float32)
    width = () if facts["tokens"] else (facts["features"],)
    answers = TensorSpec(np.dtype(np.float32), (-1, facts["outputs"]))
    made = datetime.fromtimestamp((record.end or 0) / 1000, UTC)
    model = Model("model", run_id, made.replace(tzinfo=None), model_uuid=run_id)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "network"
        data.mkdir()
        for file, path in record.model.items():
            shutil.copyfile(path, data / file)
        mlflow.pyfunc.save_model(
            str(folder),
            loader_module="lookback.predictor",
            data_path=str(data),
            mlflow_model=model,
            signature=ModelSignature(
                Schema([TensorSpec(dtype, (-1, -1, *width))]), Schema([answers])
            ),
            input_example=np.zeros((1, facts["length"], *width), dtype),
            pip_requirements=[
                f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS
            ],
        )
    return model


@contextmanager
def _writing(store: TrackingURI, study: Mapping[str, Any]) -> Iterator[_Study]:
    """The experiment of a study, held alone; MLflow's errors become mistakes that name the URI."""
    try:
        with store.alone():
            _make(store)
            client = MlflowClient(store.absolute)
            yield _Study(client, _experiment(client, store, study))
    except (MlflowException, OSError) as error:
        if isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE":
            raise  # what was sent was wrong: ours to mend
        cause = store.hidden(str(error).splitlines()[0])
        cure = "Is the server up?" if store.is_server else "Can it be written?"
        raise Mistake(
            f"MLflow at {store} took nothing more. {cure} Or name another in MLFLOW_TRACKING_URI; "
            f"tracked again, nothing stands twice. It said: {cause}"
        ) from error


def _make(store: TrackingURI) -> None:
    """Make a SQLite store, whole or not at all: a migration cut short cannot be taken up again."""
    if store.file is not None and not store.file.exists():
        with whole(store.file) as temporary:
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
        raise Mistake(
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
