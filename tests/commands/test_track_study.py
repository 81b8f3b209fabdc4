"""`lookback track --follow` ends by itself, however the study did."""

import json
import os
from pathlib import Path

import pytest

from lookback.commands import dispatch, track_study
from lookback.errors import UserError
from lookback.storage import lock, run_store
from lookback.storage.atomic import read_json, write_json, write_text
from lookback.storage.paths import LOCK
from tests.conftest import ROOT
from tests.tracking.tree import Study


@pytest.fixture
def index(in_tmp: Path) -> dict:
    """The index of a study of one cell with two seeds, prepared and not yet trained."""
    task = Path("results/small/adding/task.json")
    task.parent.mkdir(parents=True)
    task.write_text(json.dumps({"plans": {}, "features": 2}))
    plan = Path("results/.plan/train/0123.yaml")
    plan.parent.mkdir(parents=True)
    plan.write_text(json.dumps({"model": {"name": "gru"}}))
    train = {"plan": str(plan)}
    return {"study": {"name": "small", "seeds": [0, 1]}, "cells": {"adding/gru": {"train": train}}}


def finish(index: dict, seed: int) -> None:
    folder = folder_of(index, seed)
    folder.mkdir(parents=True, exist_ok=True)
    run_store.mark_finished(folder, {"seed": seed})


def folder_of(index: dict, seed: int) -> Path:
    plan = Path(index["cells"]["adding/gru"]["train"]["plan"])
    return run_store.seed_folder(
        run_store.runs_folder(plan, Path("results/small/adding/task.json")), seed
    )


def test_a_study_that_runs_is_followed_until_its_last_seed_is_finished(index):
    with lock.hold():
        assert not track_study.is_over(index)
        finish(index, 0)
        assert not track_study.is_over(index)
        finish(index, 1)
        assert track_study.is_over(index)


def test_a_study_that_was_stopped_or_lost_a_seed_is_over_though_not_all_is_trained(index):
    finish(index, 0)  # seed 1 diverged
    with lock.hold():
        assert not track_study.is_over(index)
    assert track_study.is_over(index)


def test_a_seed_whose_trainer_outlived_its_snakemake_is_followed_still(index):
    finish(index, 0)
    with run_store.locked(folder_of(index, 1)):
        assert not track_study.is_over(index)
    assert track_study.is_over(index)


def test_a_look_at_the_lock_neither_takes_it_nor_makes_it(in_tmp):
    assert not lock.is_held()
    assert not LOCK.exists()
    with lock.hold():
        assert lock.is_held()
    assert not lock.is_held()
    lock.hold().close()


def test_the_pages_open_on_what_the_config_says_and_the_environment_has_the_last_word(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shipped = (ROOT / "conf/tracking/local.yaml").read_text()
    assert track_study.local_uri() == "sqlite:///results/mlflow.db"
    assert f"MLFLOW_TRACKING_URI,{track_study.local_uri()}}}" in shipped
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    assert track_study.local_uri() == "http://mlflow.example"


@pytest.fixture
def started(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The index of the study `tiny`, which was planned with a store and started."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    plan = Study().write_plan()
    index = Path("results/.plan/study/0.yaml")
    planned = {"study": {"name": "tiny"}, "track": {"plan": str(plan)}, "uri": STORES["plan"]}
    write_json(index, planned)
    write_text("results/tiny/.index", f"{index}\n")
    return index


# No server listens at these ports. The error message names the store that was chosen.
STORES = {name: f"http://127.0.0.1:{port}" for port, name in enumerate(("word", "env", "plan"), 2)}


def test_an_argument_goes_before_the_environment_and_the_environment_before_the_plan(
    started, monkeypatch
):
    with pytest.raises(UserError, match=STORES["plan"]):
        track_study.track("tiny")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", STORES["env"])
    with pytest.raises(UserError, match=STORES["env"]):
        track_study.track("tiny")
    with pytest.raises(UserError, match=STORES["word"]):
        track_study.track("tiny", STORES["word"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " ")
    assert dispatch.run(["track", "study=tiny"], forked=False) == 2
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_planned_store_without_its_password_asks_for_the_uri(started, monkeypatch):
    write_json(started, {**read_json(started), "uri": "http://ada:…@127.0.0.1:9"})
    with pytest.raises(UserError, match=r"http://ada:…@127\.0\.0\.1:9 .*\n.*MLFLOW_TRACKING_URI"):
        track_study.track("tiny")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", STORES["env"])
    with pytest.raises(UserError, match=STORES["env"]):
        track_study.track("tiny")


@pytest.mark.parametrize("command", [["track", "plan=p", "out=o"], ["track", "plan=p"]])
def test_stage_track_without_its_environment_or_arguments_is_a_mistake(
    command, in_tmp, monkeypatch, capsys
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert dispatch.run(command, forked=False) == 2
    said = capsys.readouterr().err
    assert ("MLFLOW_TRACKING_URI" if len(command) == 3 else "out=") in said
