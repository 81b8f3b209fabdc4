"""A receipt is believed only while the store holds what the receipt says."""

import base64
import json
import multiprocessing
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote

import pytest
from mlflow import MlflowClient

from lookback.storage.atomic import read_json, write_json
from lookback.tracking import receipt
from lookback.tracking.receipt import is_held, repeat_lost_tracking, run_ids
from lookback.tracking.track import track
from tests.servers import serving

from .rows import rows
from .tree import Study, complete

URI = "sqlite:///results/mlflow.db"
OUT = Path("results/tiny/tracked/receipt.json")
STUDY = Study(models=("gru",), seeds=(0,))


def track_in_a_process(plan: Path) -> None:
    """Track in a process of its own, because MLflow keeps a deleted database open."""
    process = multiprocessing.get_context("fork").Process(target=track, args=(plan, URI, OUT))
    process.start()
    process.join()
    assert process.exitcode == 0


def client() -> MlflowClient:
    return MlflowClient(f"sqlite:///{Path('results/mlflow.db').resolve()}")


def folder_of(run: str) -> Path:
    return Path(unquote(client().get_run(run).info.artifact_uri.removeprefix("file://")))


def cell() -> dict:
    return read_json(OUT)["runs"]["marks/gru"]


def delete_parent() -> None:
    client().delete_run(cell()["parent"])


def delete_seed() -> None:
    client().delete_run(cell()["seeds"]["0"])


def remove_all_artifacts() -> None:
    shutil.rmtree("results/mlartifacts")


def remove_artifacts_of_a_seed() -> None:
    shutil.rmtree(folder_of(cell()["seeds"]["0"]))


def remove_one_file() -> None:
    (folder_of(cell()["seeds"]["0"]) / "model/MLmodel").unlink()


LOSSES = {
    "the store": lambda: Path("results/mlflow.db").unlink(),
    "a parent": delete_parent,
    "a seed": delete_seed,
    "all artifacts": remove_all_artifacts,
    "the artifacts of a seed": remove_artifacts_of_a_seed,
    "one file": remove_one_file,
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_what_was_lost_is_noticed_and_tracked_again(lose: Callable[[], None]):
    plan = complete(STUDY)
    track_in_a_process(plan)
    assert is_held(OUT, URI)
    before = rows()
    lose()
    assert not is_held(OUT, URI)
    track_in_a_process(plan)
    assert is_held(OUT, URI)
    with closing(sqlite3.connect("results/mlflow.db")) as store, store:
        # What the pages of MLflow have deleted stays in the store, and is not looked at.
        deleted = "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'deleted'"
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            store.execute(f"DELETE FROM {table} WHERE run_uuid IN ({deleted})")
    assert rows() == before
    parents = {row[2] for row in rows()["tags"] if row[1] == "mlflow.parentRunId"}
    assert len(parents) == 1
    assert (
        client().get_run(cell()["seeds"]["0"]).data.tags["mlflow.parentRunId"] == (cell()["parent"])
    )


def test_a_seed_that_diverged_has_no_artifacts_and_is_held():
    study = Study(models=("gru",), seeds=(0, 1))
    plan = study.write_plan()
    study.train("gru", seeds=(0,))
    study.journal("gru", 1).event("start", 0)
    study.report()
    track(plan, URI, OUT)
    assert len(run_ids(read_json(OUT))) == 3
    assert is_held(OUT, URI)


def test_a_deleted_experiment_holds_nothing():
    track(complete(STUDY), URI, OUT)
    client().delete_experiment(read_json(OUT)["experiment_id"])
    assert not is_held(OUT, URI)


def test_the_artifacts_of_a_moved_store_are_those_beside_it(tmp_path, monkeypatch):
    track(complete(STUDY), URI, OUT)
    moved = tmp_path / "moved"
    moved.mkdir()
    Path("results").rename(moved / "results")
    monkeypatch.chdir(moved)
    assert is_held(OUT, URI)
    remove_all_artifacts()
    assert not is_held(OUT, URI)


@pytest.mark.parametrize(
    "content", ["", "{", "null", "[]", "{}", '{"runs": {"a": {}}}', '{"runs": {}, "uri": "x"}']
)
def test_a_damaged_receipt_is_not_held(content):
    OUT.parent.mkdir(parents=True)
    OUT.write_text(content)
    assert not is_held(OUT, URI)


def test_a_receipt_of_a_damaged_store_is_not_held():
    track(complete(STUDY), URI, OUT)
    Path("results/mlflow.db").write_text("no database " * 1000)
    assert not is_held(OUT, URI)


def test_a_store_that_cannot_be_asked_is_believed(monkeypatch):
    track(complete(STUDY), URI, OUT)
    monkeypatch.setattr(receipt, "PATIENCE", 0.2)
    with closing(sqlite3.connect("results/mlflow.db")) as store:
        store.execute("BEGIN EXCLUSIVE")
        assert is_held(OUT, URI)
    assert is_held(OUT, "http://127.0.0.1:9")
    assert is_held(OUT, "databricks")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert is_held(OUT, f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_another_database_is_asked_by_the_same_query():
    track(complete(STUDY), URI, OUT)
    experiment, file = str(read_json(OUT)["experiment_id"]), Path("results/mlflow.db").resolve()
    in_file = receipt._runs_in_file(file, experiment)
    assert len(in_file) == 2
    assert sorted(receipt._runs_in_database(f"sqlite:///{file}", experiment)) == sorted(in_file)
    with pytest.raises(receipt._CannotAsk):
        receipt._runs_in_database("sqlite:////no/such/folder/mlflow.db", experiment)


def test_a_server_is_asked_for_its_runs(server):
    track(complete(STUDY), server, OUT)
    assert is_held(OUT, server)
    delete_seed()
    assert not is_held(OUT, server)
    write_json(OUT, {**read_json(OUT), "experiment_id": "77"})
    assert not is_held(OUT, server)


class Guarded(BaseHTTPRequestHandler):
    """A server of MLflow that answers those who know the password or the token."""

    known = (f"Basic {base64.b64encode(b'ada:p@ss').decode()}", "Bearer t0ken")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        is_known = self.headers["Authorization"] in self.known
        body = json.dumps({"runs": []}).encode()
        self.send_response(200 if is_known and self.path == "/api/2.0/mlflow/runs/search" else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def guarded() -> Iterator[str]:
    with serving(Guarded) as address:
        yield address


def test_planning_signs_in_as_mlflow_does(guarded, monkeypatch):
    """The server holds no run, so the receipt is believed only by those who cannot sign in."""
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    track(complete(STUDY), URI, OUT)
    assert is_held(OUT, f"http://{guarded}")
    assert is_held(OUT, f"http://ada:wrong@{guarded}")
    assert not is_held(OUT, f"http://ada:p%40ss@{guarded}/")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    assert not is_held(OUT, f"http://{guarded}")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    assert is_held(OUT, f"http://{guarded}")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p@ss")
    assert not is_held(OUT, f"http://{guarded}")


def test_only_a_lost_receipt_makes_the_plan_newer():
    plan = complete(STUDY)
    track(plan, URI, OUT)
    index = Path("index.json")
    planned = {"study": {"name": "tiny"}, "receipt": "receipt", "track": {"plan": str(plan)}}
    write_json(index, planned)
    os.utime(plan, (1, 1))
    repeat_lost_tracking(index, URI)
    assert plan.stat().st_mtime == 1
    Path("results/mlflow.db").unlink()
    repeat_lost_tracking(index, URI)
    assert plan.stat().st_mtime >= OUT.stat().st_mtime
    OUT.unlink()
    os.utime(plan, (1, 1))
    repeat_lost_tracking(index, URI)
    assert plan.stat().st_mtime == 1


def test_a_receipt_that_an_older_lookback_named_otherwise_makes_room():
    plan = complete(STUDY)
    old, other = OUT.with_name("old name.json"), OUT.with_name("other.json")
    track(plan, URI, old)
    track(plan, "sqlite:///results/other/mlflow.db", other)
    (damaged := OUT.with_name("damaged.json")).touch()
    track(plan, URI, OUT)
    assert set(OUT.parent.iterdir()) == {OUT, other, damaged}
