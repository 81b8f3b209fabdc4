"""Stage `track`: writes a study to MLflow. What imports MLflow is named `tracking…`, and no other.

One experiment a study, one run a cell, one nested run a seed. A run is known by its tags (cell,
seed, plan, project), a point by its name and step: written again, a study adds nothing, and a
tracker that was killed goes on where it was. Runs of this project that the study no longer means
are tagged `superseded`. A run without a project is of an older lookback: the first project that
means its cell, seed and plan takes it for its own, and nobody else touches it.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lookback.storage.atomic import digest, read_json, write_json
from lookback.tracking.project import identity
from lookback.tracking.records import Point, Record, cells_of_study, finished, journals, started
from lookback.tracking.uri import TrackingURI

# MLflow reads these when it is imported, here and in the two modules that know it besides.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from lookback.tracking.model import save_model
from lookback.tracking.store import experiment_of, ui

__all__ = ["follow", "main", "ui"]

KNOWN_BY = ("cell", "seed", "plan", "project")
PAGE = 1000  # runs in one answer
POINTS, PARAMS = 800, 100  # in one call, which takes 100 params, 100 tags and 1,000 of all
LONGEST = 6000  # characters of a param
Key = tuple[str | None, ...]  # the values of KNOWN_BY


def main(plan: Path, uri: str, out: Path) -> None:
    """Write all that is there of the study of `plan` to MLflow at `uri`, and a receipt to `out`.

    Raises UserError where the URI is none or cannot be reached.
    """
    document, store = read_json(plan), TrackingURI(uri)
    families = list(finished(document))
    with experiment_of(store, document["study"]) as place:
        study = _Study(*place)
        runs = {parent.tags["cell"]: study.complete(parent, seeds) for parent, seeds in families}
        study.supersede_others()
    receipt = {"uri": str(store), "experiment_id": study.experiment, "runs": runs}
    write_json(out, {"plans": {"track": plan.stem}, **receipt})


def follow(plan: Path, uri: str, stop: Callable[[], bool], interval: float) -> None:
    """Write what training says while it says it, every `interval` seconds, until `stop()`.

    Raises UserError where the URI is none or cannot be reached.
    """
    document, store = read_json(plan), TrackingURI(uri)
    seen: dict[Path, int] = {}
    while True:
        last = stop()  # asked first, so that what came before it is still written
        paths = (path for cell in cells_of_study(document) for path in journals(cell).values())
        sizes = {path: path.stat().st_size for path in paths if path.exists()}
        if sizes != seen:
            families = list(started(document))
            with experiment_of(store, document["study"]) as place:
                study = _Study(*place)
                for parent, seeds in families:
                    study.show(parent, seeds)
            seen = sizes
        if last:
            return
        time.sleep(interval)


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
                model = save_model(folder / "model", record, run.info.run_id)
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
