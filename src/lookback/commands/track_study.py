"""`lookback track [--follow] [study=NAME] [uri=URI]` and `lookback ui`: a study in MLflow."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lookback.errors import UserError, nearest
from lookback.planning.plan import receipt_of, started_indices
from lookback.planning.study import DEFAULT_STUDY
from lookback.storage import run_store
from lookback.storage.atomic import read_json
from lookback.storage.cell_paths import CellPaths
from lookback.storage.lock import is_held, use_plans
from lookback.storage.paths import PROJECT, lock_file
from lookback.storage.secrets import VARIABLE, has_secret, hide_in_output
from lookback.storage.study_paths import StudyPaths

INTERVAL = 2.0  # seconds between two readings of the training logs


def track(study: str = DEFAULT_STUDY, uri: str | None = None, *, follow: bool = False) -> None:
    """Send the results of a study to an MLflow store.

    The store is `uri`, else MLFLOW_TRACKING_URI, else the store to which the study was planned.
    If `follow` is true, the learning curves are also sent while the study trains, until the study
    is over. Raises UserError if the study was never started, or if the MLflow store cannot be
    reached.
    """
    with use_plans():
        _track(study, uri, follow=follow)


def _track(study: str, uri: str | None, *, follow: bool) -> None:
    """Send the results of a study to MLflow. The caller must hold the shared lock of the plans."""
    indices = started_indices()
    if study not in indices:
        near = nearest(study, indices)
        hint = f"Did you mean '{near}'? " if near else ""
        raise UserError(
            f"study '{study}' was not run here yet, so there is nothing to track.\n"
            f"{hint}Run it first: snakemake --cores N --config study={study}"
        )
    index = read_json(indices[study])
    plan, store = Path(index["track"]["plan"]), uri or os.environ.get(VARIABLE) or _planned(index)
    hide_in_output(store)
    from lookback.tracking import track as tracking

    if follow:
        tracking.follow(plan, store, partial(is_over, index), INTERVAL)
        if unfinished := _unfinished_seeds(index):
            print(f"study '{study}' no longer runs; unfinished: {', '.join(unfinished)}")
    else:
        tracking.track(plan, store, StudyPaths.of(study).receipt(receipt_of(store)))


def _planned(index: Mapping[str, Any]) -> str:
    """The URI with which a study was planned.

    Raises UserError if the URI had a password or a token, which the index does not hold.
    """
    uri = str(index["uri"])
    if has_secret(uri):
        raise UserError(
            f"the store {uri} of study '{index['study']['name']}' needs a password or a token, "
            f"which no file of results/ holds.\nSet {VARIABLE} to the whole URI."
        )
    return uri


def open_pages(uri: str | None, port: int) -> None:
    """Start MLflow's web server for the store `uri`, or for the configured store.

    Raises UserError if the server cannot be started.
    """
    store = uri or local_uri()
    hide_in_output(store)
    from lookback.tracking.connection import ui

    ui(store, port)


def local_uri() -> str:
    """The URI of the MLflow store that conf/tracking/local.yaml sets."""
    from omegaconf import OmegaConf

    return str(OmegaConf.load(PROJECT / "conf/tracking/local.yaml").uri)


def is_over(index: dict[str, Any]) -> bool:
    """Whether no seed of a study is being trained any more.

    While Snakemake runs, the study is over as soon as the training of all seeds is finished. After
    Snakemake has ended, the study is over if no process holds the lock of a seed, because a
    training process that outlives Snakemake still holds the lock of its seed.
    """
    if is_held():
        return not _unfinished_seeds(index)
    folders = _seed_folders(index).values()
    return not any(is_held(lock_file(folder)) for folder in folders if folder)


def _unfinished_seeds(index: dict[str, Any]) -> list[str]:
    """The names of the unfinished seeds of a study, such as «adding/gru seed 0»."""
    return [
        seed
        for seed, folder in _seed_folders(index).items()
        if not folder or not run_store.is_finished(folder)
    ]


def _seed_folders(index: dict[str, Any]) -> dict[str, Path | None]:
    """The folder of each seed of a study, as a mapping from the seed's name to its folder.

    The folder is None as long as the task is not prepared or the tuning is not finished.
    """
    folders: dict[str, Path | None] = {}
    for name, stages in index["cells"].items():
        cell = CellPaths(StudyPaths.of(index["study"]["name"]).folder / name)
        runs = run_store.runs_folder(Path(stages["train"]["plan"]), cell.task.facts, cell.tuning)
        for seed in index["study"]["seeds"]:
            folders[f"{name} seed {seed}"] = run_store.seed_folder(runs, seed) if runs else None
    return folders
