"""The artifacts of a store that was moved or copied lie beside the store."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from lookback.storage.atomic import read_json
from lookback.tracking import connection
from lookback.tracking.artifacts import relocate
from lookback.tracking.connection import ui
from lookback.tracking.track import track
from lookback.tracking.uri import TrackingURI

from .rows import rows
from .tree import Study, complete

URI = "sqlite:///results/mlflow.db"
OUT = Path("results/tiny/tracked/receipt.json")
STUDY = Study(models=("gru",), seeds=(0,))


@pytest.fixture
def tracked(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tracked project in a folder that a test may move, as the working directory."""
    folder = project / "the original"  # a URI writes the space as %20
    folder.mkdir()
    (project / "results").rename(folder / "results")
    monkeypatch.chdir(folder)
    track(complete(STUDY), URI, OUT)
    return folder


def locations() -> set[str]:
    """The folders of all experiments and runs that are not MLflow's default experiment."""
    with closing(sqlite3.connect("results/mlflow.db")) as store:
        found = store.execute(
            "SELECT artifact_location FROM experiments WHERE experiment_id > 0 "
            "UNION SELECT artifact_uri FROM runs"
        )
        return {unquote(location.removeprefix("file://")) for (location,) in found}


def assert_models_load(folder: Path) -> None:
    """The model of the one seed answers, from files below `folder`."""
    run = read_json(OUT)["runs"]["marks/gru"]["seeds"]["0"]
    mlflow.set_tracking_uri(f"sqlite:///{Path('results/mlflow.db').resolve()}")
    model = mlflow.pyfunc.load_model(f"runs:/{run}/model")
    assert model.predict(np.zeros((1, 7, 3), np.float32)).shape == (1, 4)
    assert all(Path(place).is_relative_to(folder / "results/mlartifacts") for place in locations())


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """The bytes and the time of each file below `folder`."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_moved_project_keeps_its_models_and_leaves_nothing_at_its_old_place(
    tracked, project, capsys
):
    before = rows()["artifacts"]
    moved = tracked.rename(project / "moved")
    os.chdir(moved)
    track(complete(STUDY), URI, OUT)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(tracked / "results/mlartifacts") in said
    assert_models_load(moved)
    assert rows()["artifacts"] == before
    assert not tracked.exists()
    capsys.readouterr()  # the progress of MLflow's download
    track(complete(STUDY), URI, OUT)
    assert capsys.readouterr().err == ""


def test_a_copied_project_writes_beside_itself_and_leaves_the_original_as_it_was(tracked, project):
    before = contents(tracked)
    copied = project / "copied"
    shutil.copytree(tracked, copied, symlinks=True)
    os.chdir(copied)
    track(complete(STUDY), URI, OUT)
    track(complete(Study(models=("gru",), seeds=(0,), code="two")), URI, OUT)
    assert_models_load(copied)
    assert contents(tracked) == before
    os.chdir(tracked)
    assert_models_load(tracked)


def test_a_store_that_was_copied_without_its_artifacts_gets_copies_of_them(tracked, project):
    before, files = contents(tracked), rows()["artifacts"]
    copied = project / "copied"
    (copied / "results").mkdir(parents=True)
    shutil.copy("results/mlflow.db", copied / "results")
    shutil.copytree(OUT.parent, copied / OUT.parent)
    os.chdir(copied)
    relocate(TrackingURI(URI))
    assert rows()["artifacts"] == files
    assert_models_load(copied)
    assert not list(Path("results/mlartifacts").glob(".*"))
    assert contents(tracked) == before


def test_a_copy_of_artifacts_that_was_interrupted_is_completed(tracked, project, monkeypatch):
    """Of the two runs, one is copied, and the copy of the other breaks off."""
    files = rows()["artifacts"]
    copied = project / "copied"
    (copied / "results").mkdir(parents=True)
    shutil.copy("results/mlflow.db", copied / "results")
    os.chdir(copied)
    before, replace, calls = locations(), os.replace, []

    def break_off(source, target):
        calls.append(source)
        if len(calls) == 2:
            next(Path(source).rglob("config.yaml")).unlink()
            raise OSError("the disk is full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", break_off)
    with pytest.raises(OSError, match="full"):
        relocate(TrackingURI(URI))
    assert locations() == before
    relocate(TrackingURI(URI))
    assert rows()["artifacts"] == files


def test_locations_of_other_programs_stay_as_they_are(tracked, project):
    client = MlflowClient(f"sqlite:///{Path('results/mlflow.db').resolve()}")
    others = {"a": "file:///big/disk/a", "b": "s3://bucket/mlartifacts/b"}
    others["c"] = "/big/mlartifacts/another name"
    ids = {name: client.create_experiment(name, place) for name, place in others.items()}
    os.chdir(tracked.rename(project / "moved"))
    relocate(TrackingURI(URI))
    with closing(sqlite3.connect("results/mlflow.db")) as store:
        query = "SELECT experiment_id, artifact_location FROM experiments"
        found = {str(number): place for number, place in store.execute(query)}
    assert {name: found[ids[name]] for name in others} == others


def test_an_old_store_with_paths_and_fewer_tables_is_relocated_too(tracked):
    with closing(sqlite3.connect("results/mlflow.db")) as store, store:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            for row, place in store.execute(f"SELECT rowid, {column} FROM {table}").fetchall():
                rest = place.partition("mlartifacts")[2]
                old = f"/gone/results/mlartifacts{rest}"
                store.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (old, row))
        for table in ("trace_tags", "model_versions"):
            store.execute(f"DROP TABLE {table}")
    relocate(TrackingURI(URI))
    assert_models_load(tracked)


def test_a_model_that_was_registered_moves_with_its_run(tracked, project):
    client = MlflowClient(f"sqlite:///{Path('results/mlflow.db').resolve()}")
    run = read_json(OUT)["runs"]["marks/gru"]["seeds"]["0"]
    client.create_registered_model("best")
    place = f"{client.get_run(run).info.artifact_uri}/model"
    client.create_model_version("best", place, run)
    moved = tracked.rename(project / "moved")
    os.chdir(moved)
    relocate(TrackingURI(URI))
    client = MlflowClient(f"sqlite:///{moved}/results/mlflow.db")
    assert client.get_model_version_download_uri("best", "1").startswith(moved.as_uri())


def test_the_pages_of_a_moved_store_show_its_artifacts(tracked, project, monkeypatch):
    moved = tracked.rename(project / "moved")
    os.chdir(moved)
    monkeypatch.setattr(connection.os, "execv", lambda *_: None)
    ui(URI, 5999)
    assert_models_load(moved)
