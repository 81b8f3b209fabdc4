"""Tracking against SQLite's own rows, MLflow's own client, and the files that it was told of."""

import multiprocessing
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from sqlalchemy import text

from lookback.errors import UserError
from lookback.storage.atomic import read_json, write_json
from lookback.storage.journal import read
from lookback.storage.provenance import plans_of
from lookback.tracking import artifacts, connection
from lookback.tracking import track as tracking
from lookback.tracking.connection import experiment_of, ui
from lookback.tracking.track import follow
from lookback.tracking.uri import TrackingURI
from tests.conftest import ROOT
from tests.fake_study import lose_seed

from .rows import count, rows
from .tree import Study, complete, log_step, loss_at

URI = "sqlite:///results/mlflow.db"
OTHER = "sqlite:///results/other/mlflow.db"
OUT = Path("results/tiny/tracked/receipt.json")
FORK = multiprocessing.get_context("fork")  # MLflow is imported by then


def track(plan: Path, uri: str = URI) -> dict:
    tracking.track(plan, uri, OUT)
    return read_json(OUT)


def absolute() -> str:
    """MLflow keeps a store open by its URI; a relative one would be that of another test."""
    return f"sqlite:///{Path('results/mlflow.db').resolve()}"


def mlflow_client() -> MlflowClient:
    return MlflowClient(absolute())


def runs_of() -> pd.DataFrame:
    mlflow.set_tracking_uri(absolute())
    return mlflow.search_runs(experiment_names=["tiny"])


def test_a_study_tracked_twice_adds_no_row_to_any_table():
    plan = complete(Study())
    track(plan)
    before, everything = rows(), count()
    assert len(before["metrics"]) > 0
    track(plan)
    assert rows() == before
    assert count() == everything


def test_a_cell_has_the_numbers_of_the_report_to_the_last_digit():
    track(complete(Study()))
    found = runs_of()
    parents = found[found["tags.seed"].isna()].set_index("tags.model")
    table = pd.read_parquet("results/tiny/summary/results.parquet").set_index("model")
    assert set(parents.index) == set(table.index)
    for model, row in table.iterrows():
        name = f"metrics.test/{row['metric']}"
        ends = (parents[column][model] for column in (name, f"{name}/low", f"{name}/high"))
        assert tuple(ends) == (row["mean"], row["low"], row["high"])
        assert parents["metrics.baseline"][model] == 0.3
        assert parents["metrics.baseline/any symbol of this sequence"][model] == 0.3
        assert parents["metrics.baseline/most frequent class"][model] == 0.25
    others = pd.read_parquet("results/tiny/summary/metrics.parquet").set_index(["model", "metric"])
    for model in parents.index:
        names = ("metrics.test/macro_f1", "metrics.test/macro_f1/low")
        row = others.loc[(model, "macro_f1")]
        assert [parents[name][model] for name in names] == [row["mean"], row["low"]]


def test_a_summary_of_other_numbers_than_the_cell_has_now_is_not_shown():
    plan = complete(Study())
    metrics = Path("results/tiny/marks/rnn/metrics.json")
    metrics.write_text(metrics.read_text().replace("0.", "0.0"))
    track(plan)
    found = runs_of()
    parents = found[found["tags.seed"].isna()].set_index("tags.model")["metrics.test/accuracy"]
    assert parents.isna().to_dict() == {"rnn": True, "gru": False}


def test_a_seed_has_the_numbers_of_its_cell_and_every_step_with_its_time():
    study = Study()
    receipt = track(complete(study))
    client = mlflow_client()
    said = read_json("results/tiny/marks/gru/metrics.json")["seeds"]["1"]
    run = receipt["runs"]["marks/gru"]["seeds"]["1"]
    assert client.get_run(run).data.metrics["test/accuracy"] == said["test/accuracy"]
    curve = client.get_metric_history(run, "train/loss")
    assert [(p.step, p.value) for p in curve] == [(s, loss_at(1, s)) for s in range(study.points)]
    journal = read(study.journal("gru", 1).path)
    times = [entry["time"] for entry in journal if entry.get("split") == "train"]
    assert [point.timestamp for point in curve] == [round(time * 1000) for time in times]


def test_without_its_journal_a_seed_has_the_curve_of_its_history():
    study = Study()
    plan = complete(study)
    study.journal("gru", 1).path.unlink()
    run = track(plan)["runs"]["marks/gru"]["seeds"]["1"]
    curve = mlflow_client().get_metric_history(run, "train/loss")
    assert [(p.step, p.value) for p in curve] == [(s, loss_at(1, s)) for s in range(study.points)]


def test_a_result_that_changed_counts_and_its_curve_stands_once():
    study = Study()
    plan = complete(study)
    study.journal("gru", 1).path.unlink()  # so that the curve has the time of the result's file
    run = track(plan)["runs"]["marks/gru"]["seeds"]["1"]
    metrics = Path("results/tiny/marks/gru/metrics.json")
    said = read_json(metrics)
    said["seeds"]["1"]["test/accuracy"] = 0.125
    write_json(metrics, said)
    os.utime(metrics, (0, 0))
    track(plan)
    client = mlflow_client()
    assert client.get_run(run).data.metrics["test/accuracy"] == 0.125
    assert len(client.get_metric_history(run, "test/accuracy")) == 2
    assert len(client.get_metric_history(run, "train/loss")) == study.points


def test_runs_are_nested_and_say_what_they_are():
    study = Study()
    receipt = track(complete(study))
    client = mlflow_client()
    cell = receipt["runs"]["marks/rnn"]
    tags = client.get_run(cell["seeds"]["0"]).data.tags
    plan = plans_of(Path("results/tiny/marks/rnn/metrics.json"))["train"]
    expected = {"study": "tiny", "cell": "marks/rnn", "task": "marks", "model": "rnn", "seed": "0"}
    expected |= {"plan": plan, "commit": "c0ffee", "dirty": "false"}
    expected |= {"mlflow.parentRunId": cell["parent"], "mlflow.source.git.commit": "c0ffee"}
    assert expected.items() <= tags.items()
    assert "seed" not in client.get_run(cell["parent"]).data.tags
    params = client.get_run(cell["parent"]).data.params
    assert params["recipe.optimizer.lr"] == "0.003"
    assert params["trainer.devices"] == "null"
    assert params["model._target_"] == "lookback.models.rnn.RNN"


def test_the_filter_that_the_readme_names_shows_one_run_a_cell():
    receipt = track(complete(Study()))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.search(r"filter `(.+?)` shows one run a cell", readme)[1]
    shown = mlflow_client().search_runs([receipt["experiment_id"]], named)
    parents = {cell["parent"] for cell in receipt["runs"].values()}
    assert {run.info.run_id for run in shown} == parents


def test_a_run_holds_its_config_its_measurements_and_the_figures_that_concern_it():
    receipt = track(complete(Study(models=("rnn", "gru", "gru_9"))))
    client = mlflow_client()
    parent = receipt["runs"]["marks/gru"]["parent"]
    figures = {Path(f.path).stem for f in client.list_artifacts(parent, "figures")}
    assert figures == {"overview", "marks", "marks_gru"}
    assert {f.path for f in client.list_artifacts(parent, "probe")} == {"probe/fading.parquet"}
    seed = receipt["runs"]["marks/gru"]["seeds"]["0"]
    config = client.download_artifacts(seed, "config.yaml")
    assert Path(config).read_text() == Path("results/tiny/marks/gru/config.yaml").read_text()


def test_runs_of_an_older_plan_are_superseded_until_that_plan_comes_back():
    first, second = Study(code="one"), Study(code="two")
    track(complete(first))
    old = {row[0] for row in rows()["runs"]}
    assert not [row for row in rows()["tags"] if row[1] == "superseded"]
    track(complete(second))
    assert {row[0] for row in rows()["tags"] if row[1:] == ("superseded", "true")} == old
    track(complete(first))
    assert {row[0] for row in rows()["tags"] if row[1] == "superseded"}.isdisjoint(old)
    assert len(rows()["runs"]) == 2 * len(old)


def test_a_seed_that_the_study_dropped_is_superseded():
    track(complete(Study(seeds=(0, 1))))
    track(complete(Study(seeds=(0,))))
    superseded = [row[0] for row in rows()["tags"] if row[1] == "superseded"]
    assert len(superseded) == 2
    assert all("seed 1" in run for run in superseded)


def test_two_projects_on_one_store_leave_each_other_s_runs_alone(tmp_path, monkeypatch):
    """Both have a study `tiny`; their first cells are made by the same plan, even."""
    store = f"sqlite:///{Path('results/mlflow.db').resolve()}"
    mine = track(complete(Study(code="one")), store)["runs"]
    (other := tmp_path / "another project").mkdir()
    monkeypatch.chdir(other)
    track(complete(Study(code="one")), store)
    theirs = track(complete(Study(code="two")), store)["runs"]
    monkeypatch.chdir(tmp_path)
    track(complete(Study(code="one")), store)
    tagged = {row[0] for row in rows()["tags"] if row[1:] == ("superseded", "true")}
    assert len(tagged) == 6  # what the other one had by its older plan
    superseded = runs_of().set_index("run_id")["tags.superseded"]
    for cells in (mine, theirs):
        ids = {cell["parent"] for cell in cells.values()}
        ids |= {run for cell in cells.values() for run in cell["seeds"].values()}
        assert superseded[list(ids)].isna().all()
    assert len(superseded) == 3 * 6


def test_runs_of_an_older_lookback_are_taken_over_where_they_are_meant_and_else_left_alone():
    first, second = complete(Study(code="one")), Study(code="two")
    before = track(first)["runs"]
    track(complete(second))
    with closing(sqlite3.connect("results/mlflow.db")) as store, store:
        store.execute("DELETE FROM tags WHERE key IN ('project', 'superseded')")
    again = track(complete(second))["runs"]
    found = runs_of().set_index("run_id")
    for model, cell in again.items():
        assert len(set(found["tags.project"][[cell["parent"], *cell["seeds"].values()]])) == 1
        assert pd.isna(found["tags.project"][before[model]["parent"]])
    assert "tags.superseded" not in found
    assert len(found) == 2 * 6


def test_what_is_missing_is_said_and_filled_later():
    study = Study(seeds=(0, 1))
    plan = study.write_plan()
    study.train("gru", seeds=(0,))
    begun = study.journal("rnn", 0)
    begun.event("start", 0)
    log_step(begun, 0, 0)
    study.report()
    track(plan)
    found = runs_of().set_index("tags.mlflow.runName")
    assert found["status"].to_dict() == {
        "marks/rnn": "FAILED",
        "marks/rnn seed 0": "FAILED",
        "marks/gru": "FAILED",
        "marks/gru seed 0": "FINISHED",
    }
    assert found["tags.missing"]["marks/gru"] == "seed 1: not there"
    assert found["tags.missing"]["marks/rnn"] == "train: not there"
    assert found["metrics.train/loss"]["marks/rnn seed 0"] == loss_at(0, 0)
    track(complete(study))
    found = runs_of()
    assert set(found["status"]) == {"FINISHED"}
    assert "tags.missing" not in found
    assert len(found) == 6


def test_a_seed_that_diverged_is_a_failed_run_with_its_curve_and_its_reason():
    study = Study(models=("gru",), seeds=(0, 1))
    plan = study.write_plan()
    study.train("gru")
    lose_seed(Path("results/tiny/marks/gru"), 1, "the loss became nan at step 3")
    study.report()
    track(plan)
    found = runs_of().set_index("tags.mlflow.runName")
    assert found["status"].to_dict() == {
        "marks/gru": "FAILED",
        "marks/gru seed 0": "FINISHED",
        "marks/gru seed 1": "FAILED",
    }
    said = "diverged: the loss became nan at step 3"
    assert found["tags.missing"]["marks/gru seed 1"] == said
    assert f"seed 1: {said}" in found["tags.missing"]["marks/gru"]
    assert found["metrics.train/loss"]["marks/gru seed 1"] == loss_at(1, study.points - 1)
    assert found["metrics.test/accuracy"].isna()["marks/gru seed 1"]


def test_a_measurement_of_an_older_plan_is_missing():
    study = Study()
    plan = complete(study)
    Path("results/tiny/marks/rnn/probe/fading.parquet").unlink()
    track(plan)
    found = runs_of().set_index("tags.mlflow.runName")
    assert found["tags.missing"]["marks/rnn"] == "probe fading: not there"


def test_followed_and_then_tracked_is_the_same_as_tracked_alone():
    study = Study(models=("gru",), seeds=(0,))
    plan = study.write_plan()
    journal = study.journal("gru", 0)
    seen = []

    def trains() -> bool:
        """One step each time that it is asked."""
        step = len(seen)
        if step == 0:
            journal.event("start", 0)
        else:
            seen_now = [row for row in rows()["metrics"] if row[1] == "train/loss"]
            assert len(seen_now) == step
            assert {row[2] for row in rows()["runs"]} == {"RUNNING"}
        log_step(journal, 0, step)
        seen.append(step)
        return step == study.points - 1

    follow(plan, URI, trains, 0.0)
    journal.event("end", study.points)
    told = journal.path.read_text()
    study.train("gru")
    journal.path.write_text(told)
    study.report()
    track(plan)
    track(plan, OTHER)
    assert rows() == rows("results/other/mlflow.db")


def test_following_what_was_tracked_changes_nothing():
    plan = complete(Study())
    track(plan)
    before = rows()
    follow(plan, URI, lambda: True, 0.0)
    assert rows() == before


def test_two_trackers_at_once_write_what_one_writes():
    plan = complete(Study())
    trackers = [FORK.Process(target=track, args=(plan,)) for _ in range(2)]
    for tracker in trackers:
        tracker.start()
    for tracker in trackers:
        tracker.join()
        assert tracker.exitcode == 0
    track(plan, OTHER)
    assert rows() == rows("results/other/mlflow.db")


def test_a_tracker_killed_at_any_moment_is_completed_by_the_next(capsys: pytest.CaptureFixture):
    plan = complete(Study(models=("gru",), points=300))  # more points than go into one call
    Path("results/mlflow.db").unlink()  # so that it is killed while it makes the store as well
    start = time.monotonic()
    Path("results/other/mlflow.db").unlink()
    undisturbed = FORK.Process(target=track, args=(plan, OTHER))
    undisturbed.start()
    undisturbed.join()
    lasts = time.monotonic() - start
    chance = random.Random(seed := random.randrange(10**6))
    with capsys.disabled():
        print(f"\nkilled at moments from seed {seed}")
    for _ in range(6):
        tracker = FORK.Process(target=track, args=(plan,))
        tracker.start()
        time.sleep(chance.uniform(0, lasts))
        os.kill(tracker.pid, signal.SIGKILL)
        tracker.join()
    track(plan)
    assert rows() == rows("results/other/mlflow.db")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("htp://127.0.0.1:5000", "Did you mean 'http'"),
        ("./mlruns", "sqlite:///results/mlflow.db"),
        ("file:///tmp/mlruns", "sqlite:///results/mlflow.db"),
        ("sqlite://", "sqlite:///results/mlflow.db"),
        ("sqlite:///results", "is a folder"),
        ("http:///path", "A host"),
        ("http://127.0.0.1:port", "A host"),
        ("postgresql://127.0.0.1/db", "driver"),
        ("mysql+nothing://127.0.0.1/db", "driver"),
        ("sqlite:///results/taken/mlflow.db", "Can it be written?"),
        ("http://127.0.0.1:9", "Is the server up?"),
        ("http://ada:secret@127.0.0.1:9", "http://ada:…@127.0.0.1:9"),
    ],
)
def test_a_uri_that_takes_nothing_is_a_mistake_that_names_it(uri: str, said: str):
    plan = Study().write_plan()
    Path("results/taken").touch()
    with pytest.raises(UserError) as error:
        track(plan, uri)
    assert said in str(error.value)
    assert "secret" not in str(error.value)
    assert uri.removesuffix("port") in str(error.value) or "ada" in uri  # «port» may be a secret


def test_a_server_that_never_answers_is_a_mistake(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError, match=uri):
            track(Study().write_plan(), uri)


def test_the_advice_for_a_deleted_experiment_works_in_a_shell(tmp_path, monkeypatch):
    (folder := tmp_path / "it's a folder").mkdir()
    (tmp_path / "results").rename(folder / "results")
    monkeypatch.chdir(folder)
    plan = complete(Study(models=("gru",), seeds=(0,)))
    experiment = track(plan)["experiment_id"]
    mlflow_client().delete_experiment(experiment)
    with pytest.raises(UserError, match=f"restore -x {experiment}") as error:
        track(plan)
    command = str(error.value).splitlines()[-1]
    clean = {name: it for name, it in os.environ.items() if not name.startswith("MLFLOW_")}
    subprocess.run(command, shell=True, check=True, env={**clean, "PATH": "/bin"}, cwd="/")
    assert track(plan)["experiment_id"] == experiment


def test_a_sqlite_store_is_opened_with_a_long_wait_for_other_programs():
    store = TrackingURI(URI)
    with experiment_of(store, {"name": "tiny", "question": "?"}) as (client, _):
        database = client._tracking_client.store
        with database.ManagedSessionMaker() as session:
            waits = [session.execute(text("PRAGMA busy_timeout")).scalar()]
        with database.engine.connect() as connection:  # as MLflow checks the schema
            waits.append(connection.execute(text("PRAGMA busy_timeout")).scalar())
    assert min(waits) >= 60_000


@pytest.mark.parametrize("moment", ["before", "while"])
def test_a_store_that_another_program_holds_too_long_is_a_mistake_that_names_the_cause(
    moment, monkeypatch
):
    for module in (artifacts, connection):
        monkeypatch.setattr(module, "WAIT", 1)
    plan = complete(Study(models=("gru",), seeds=(0,)))
    with closing(sqlite3.connect("results/mlflow.db", check_same_thread=False)) as holder:
        if moment == "before":
            holder.execute("BEGIN EXCLUSIVE")
        else:
            save, blocked = tracking.save_model, []

            def hold_then_save(*arguments):
                if not blocked:
                    blocked.append(True)
                    holder.execute("BEGIN EXCLUSIVE")
                return save(*arguments)

            monkeypatch.setattr(tracking, "save_model", hold_then_save)
        with pytest.raises(UserError, match="another program has locked") as error:
            track(plan)
        assert URI in str(error.value)
        assert "Close that program" in str(error.value)
        monkeypatch.setattr(connection.os, "execv", lambda *_: None)
        with pytest.raises(UserError, match="another program has locked"):
            ui(URI, 5998)
        holder.rollback()
        track(plan)
    track(plan, OTHER)
    assert rows() == rows("results/other/mlflow.db")


def test_a_port_in_use_is_a_mistake_that_names_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} .*port={port + 1}"):
            ui(URI, port)
