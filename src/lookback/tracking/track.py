"""The stage `track` writes the curves, results, files and models of a study to MLflow.

A study is one MLflow experiment, one model on one task is one MLflow run, and each seed of the
model is a nested run inside this run. The tags cell, seed, plan and project identify an MLflow run.
The name of a metric and a step identify a point of a learning curve. Tracking a study a second time
adds no duplicates to MLflow. If tracking is killed, the next call writes only the missing data.
MLflow runs of this project that do not belong to the current plan of the study get the tag
`superseded`. MLflow runs without the tag `project` come from an older version of lookback. If a
project tracks the task, model, seed and plan of such an MLflow run, the project adds its tag
`project` to the MLflow run. All other MLflow runs without the tag `project` stay unchanged.
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

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from lookback.errors import UserError
from lookback.storage.atomic import digest, read_json, write_json
from lookback.storage.paths import RESULTS
from lookback.storage.secrets import VARIABLE, hide_in_output, redacted
from lookback.tracking.artifacts import count_files, local_folder
from lookback.tracking.connection import experiment_of
from lookback.tracking.model import save_model
from lookback.tracking.project import current_project
from lookback.tracking.read_results import (
    Point,
    Record,
    cells_of_study,
    curve_records,
    journals,
    result_records,
)
from lookback.tracking.receipt import FILES, read_receipt
from lookback.tracking.uri import TrackingURI

IDENTIFYING_TAGS = ("cell", "seed", "plan", "project")
RUNS_PER_PAGE = 1000
# One call of MLflow's `log_batch` accepts at most 100 params, 100 tags and 1,000 items in total.
POINTS_PER_CALL, PARAMS_PER_CALL = 800, 100
LONGEST_VALUE = 6000  # maximum length of a param or tag, in characters
Key = tuple[str | None, ...]  # the values of IDENTIFYING_TAGS


def main(plan: Path, out: Path) -> None:
    """Write all existing results of a study to MLflow at the address in MLFLOW_TRACKING_URI.

    `plan` is the path of the study's plan file. The receipt is written to the file `out`. Raises
    UserError if the variable is not set, if its URI is not valid, or if MLflow fails.
    """
    uri = os.environ.get(VARIABLE)
    if not uri:
        raise UserError(f"`lookback track` with a plan needs the store of MLflow in {VARIABLE}.")
    hide_in_output(uri)
    track(plan, uri, out)


def track(plan: Path, uri: str, out: Path) -> None:
    """Write all existing results of a study to MLflow at the address `uri`.

    `plan` is the path of the study's plan file. The URI without its secrets and the ids of the
    MLflow experiment and of all MLflow runs are written to the file `out`, the receipt. Another
    receipt of the same URI in the folder of `out` is deleted. Raises UserError if the URI is not
    valid or if MLflow fails.
    """
    document, store = read_json(plan), TrackingURI(uri)
    families = list(result_records(document))
    with experiment_of(store, document["study"]) as client_and_experiment:
        study = _Study(store, *client_and_experiment)
        runs = {parent.tags["cell"]: study.write_cell(parent, seeds) for parent, seeds in families}
        study.supersede_others()
    receipt = {"uri": str(store), "experiment_id": study.experiment, "runs": runs}
    receipt["plans"] = {"track": plan.stem}
    if read_receipt(out) != receipt:  # a receipt with a new time stamp would make the report again
        write_json(out, receipt)
    for other in set(out.parent.glob("*.json")) - {out}:
        content = read_receipt(other)
        if content is not None and redacted(content["uri"]) == str(store):
            other.unlink()  # an older version of lookback named the receipts differently


def follow(plan: Path, uri: str, stop: Callable[[], bool], interval: float) -> None:
    """Write new points of learning curves to MLflow while a study runs.

    MLflow is updated every `interval` seconds until `stop()` returns true. Raises UserError if
    the URI is not valid or if MLflow fails.
    """
    document, store = read_json(plan), TrackingURI(uri)
    written_sizes: dict[Path, int] = {}
    while True:
        # Call `stop` before the journal files are read, so that their last lines are not lost.
        is_last = stop()
        paths = (path for cell in cells_of_study(document) for path in journals(cell).values())
        sizes = {path: path.stat().st_size for path in paths if path.exists()}
        if sizes != written_sizes:
            families = list(curve_records(document))
            with experiment_of(store, document["study"]) as client_and_experiment:
                study = _Study(store, *client_and_experiment)
                for parent, seeds in families:
                    study.write_curves(parent, seeds)
            written_sizes = sizes
        if is_last:
            return
        time.sleep(interval)


class _Study:
    """The MLflow experiment of a study, with all its MLflow runs."""

    def __init__(self, store: TrackingURI, client: MlflowClient, experiment: str):
        self.store = store
        self.client = client
        self.experiment = experiment
        self.project = current_project()
        # The keys of the MLflow runs that belong to the current plan of the study.
        self.current: set[Key] = set()
        self.runs: dict[Key, Run] = {}
        token: str | None = None
        while True:
            page = client.search_runs([experiment], max_results=RUNS_PER_PAGE, page_token=token)
            self.runs |= {_key(run.data.tags): run for run in page if "cell" in run.data.tags}
            token = page.token
            if not token:
                break
        if store.file is not None and store.file.is_relative_to(RESULTS.resolve()):
            self.adopt_copies()

    def adopt_copies(self) -> None:
        """Make the MLflow runs that were copied together with results/ runs of this project."""
        for key in [key for key in self.runs if key[-1] in self.project.ancestors]:
            own = (*key[:-1], self.project.project)
            if own not in self.runs:
                self.runs[own] = self.runs.pop(key)
                self.client.set_tag(self.runs[own].info.run_id, "project", own[-1])

    def write_cell(self, parent: Record, seeds: list[Record]) -> dict[str, Any]:
        """Write the record `parent` and the records `seeds` to MLflow, and return the run ids."""
        run = self.run_of(parent)
        nested = {seed.tags["seed"]: self.run_of(seed, run) for seed in seeds}
        for seed in seeds:
            self.write(nested[seed.tags["seed"]], seed)
        self.write(run, parent)
        return {
            "parent": run.info.run_id,
            "seeds": {seed: child.info.run_id for seed, child in nested.items()},
        }

    def write_curves(self, parent: Record, seeds: list[Record]) -> None:
        """Write those points of the seeds' learning curves that MLflow does not contain yet."""
        for seed in seeds:
            run = self.run_of(seed, self.run_of(parent))
            if points := self.new_points(run, seed.curves):
                self.send(run, points, {}, {})
                if run.info.status != "RUNNING":
                    self.client.update_run(run.info.run_id, status="RUNNING")

    def run_of(self, record: Record, parent: Run | None = None) -> Run:
        """Return the MLflow run of a record, and create the MLflow run if it does not exist.

        If `parent` is given, a new MLflow run is nested in the MLflow run `parent`.
        """
        key = _key(record.tags)
        self.current.add(key)
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
        run = self.runs[key]
        if parent is not None and run.data.tags.get("mlflow.parentRunId") != parent.info.run_id:
            # The former parent was deleted.
            self.client.set_tag(run.info.run_id, "mlflow.parentRunId", parent.info.run_id)
        return run

    def write(self, run: Run, record: Record) -> None:
        """Write the parts of a record that its MLflow run does not contain yet.

        The tag `written` holds a digest of the record and is written last. If an MLflow run has a
        tag `written` with the digest of the current record, the MLflow run is complete.
        """
        content, status = _content(record), "FAILED" if record.missing else "FINISHED"
        self.untag(run, "superseded")
        is_written = run.data.tags.get("written") == content and run.info.status == status
        if is_written and self.has_artifacts(run):
            return
        tags = {**record.notes, **self.upload(run, record), "written": content}
        if record.missing:
            tags["missing"] = record.missing[:LONGEST_VALUE]
        else:
            self.untag(run, "missing")
        points = [*self.new_points(run, record.curves), *self.new_results(run, record.results)]
        params = {name: text for name, text in record.params.items() if name not in run.data.params}
        self.send(run, points, params, tags)
        self.client.set_terminated(run.info.run_id, status, record.end)

    def new_points(self, run: Run, points: Sequence[Point]) -> list[Point]:
        """The points whose pair of name and step is not in the MLflow run yet."""
        names = {point.name for point in points} & run.data.metrics.keys()
        stored = {(name, metric.step) for name in names for metric in self.history(run, name)}
        return [point for point in points if (point.name, point.step) not in stored]

    def new_results(self, run: Run, points: Sequence[Point]) -> list[Point]:
        """The results that differ from the latest values in the MLflow run.

        The time of each returned result is at least 1 ms later than the times of all stored values
        of its metric, because MLflow shows the value with the latest time.
        """
        changed = []
        for point in points:
            if run.data.metrics.get(point.name) != point.value:
                stored = self.history(run, point.name) if point.name in run.data.metrics else []
                times = [point.time, *(metric.timestamp + 1 for metric in stored)]
                changed.append(replace(point, time=max(times)))
        return changed

    def history(self, run: Run, name: str) -> list[Metric]:
        """All stored values of one metric of an MLflow run."""
        return list(self.client.get_metric_history(run.info.run_id, name))

    def send(
        self,
        run: Run,
        points: Sequence[Point],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """Write points, params and tags to MLflow in as few calls as MLflow's limits allow.

        Within one call, MLflow stores params first, then points, and then tags. The tags are in the
        last call, so MLflow stores the tags only after all params and points.
        """
        metrics = [Metric(point.name, point.value, point.time, point.step) for point in points]
        settings = [Param(name, text[:LONGEST_VALUE]) for name, text in params.items()]
        run_tags = [RunTag(*tag) for tag in tags.items()]
        calls = max(-(-len(metrics) // POINTS_PER_CALL), -(-len(settings) // PARAMS_PER_CALL), 1)
        for call in range(calls):
            self.client.log_batch(
                run.info.run_id,
                metrics[call * POINTS_PER_CALL : (call + 1) * POINTS_PER_CALL],
                settings[call * PARAMS_PER_CALL : (call + 1) * PARAMS_PER_CALL],
                run_tags if call == calls - 1 else [],
            )

    def has_artifacts(self, run: Run) -> bool:
        """Whether the artifacts of a written run still exist.

        Files on this machine are counted. Of other artifacts, one is enough.
        """
        files = run.data.tags.get(FILES)
        if files in (None, "0"):
            return files == "0"
        if self.store.file is not None:
            folder = local_folder(run.info.artifact_uri, self.store)
            return folder is None or count_files(folder) >= int(files)
        return bool(self.client.list_artifacts(run.info.run_id))

    def upload(self, run: Run, record: Record) -> dict[str, str]:
        """Upload the files and the model of a record to MLflow as artifacts.

        Returns the tag with the number of files. If the record has a model, the tag that makes
        MLflow's web page list the model is returned, too.
        """
        tags = {}
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for artifact, file in record.files.items():
                (folder / artifact).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / artifact)
            if record.model:
                model = save_model(folder / "model", record, run.info.run_id)
                tags["mlflow.log-model.history"] = json.dumps([model.get_tags_dict()])
            tags[FILES] = str(count_files(folder))
            self.client.log_artifacts(run.info.run_id, temporary)
        return tags

    def untag(self, run: Run, tag: str) -> None:
        """Delete a tag of an MLflow run if the run has that tag."""
        if tag in run.data.tags:
            self.client.delete_tag(run.info.run_id, tag)

    def supersede_others(self) -> None:
        """Add the tag `superseded` to this project's outdated MLflow runs.

        An MLflow run is outdated if it belongs to an older plan, or to a task, model or seed that
        was removed from the study.
        """
        project_keys = {key for key in self.runs if key[-1] == self.project.project}
        for key in project_keys - self.current:
            run = self.runs[key]
            if run.data.tags.get("superseded") != "true":
                self.client.set_tag(run.info.run_id, "superseded", "true")
            if run.info.status == "RUNNING":
                self.client.set_terminated(run.info.run_id, "KILLED")


def _key(tags: Mapping[str, str]) -> Key:
    return tuple(tags.get(name) for name in IDENTIFYING_TAGS)


def _content(record: Record) -> str:
    """A digest of all content of a record except the times."""
    points = [(point.name, point.step, point.value) for point in record.curves + record.results]
    files = {**record.files, **{f"model/{name}": path for name, path in record.model.items()}}
    digests = {name: digest(path.read_bytes()) for name, path in files.items()}
    return digest(json.dumps([record.missing, record.notes, record.params, points, digests]))
