"""`lookback track --follow` ends by itself, however the study did."""

import json
from pathlib import Path

import pytest

from lookback.commands import track_study
from lookback.storage import lock, run_store
from lookback.storage.paths import LOCK
from tests.conftest import ROOT


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
