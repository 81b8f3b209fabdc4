"""`lookback track [--follow] [study=NAME] [uri=URI]`: a study to MLflow, also while it runs."""

from functools import partial
from pathlib import Path
from typing import Any

from lookback.errors import Mistake, nearest
from lookback.files import read_json
from lookback.held import is_held
from lookback.plan import receipt_of, started_indices
from lookback.study import DEFAULT_STUDY
from lookback.training import store

ROOT = Path(__file__).parents[2]
INTERVAL = 2.0  # seconds between two looks at the journals


def track(study: str = DEFAULT_STUDY, uri: str | None = None, *, follow: bool = False) -> None:
    """Write what there is of a study to `uri`, else to its own; `follow`: while it trains.

    Raises Mistake where the study was never started, or where `uri` cannot be reached.
    """
    indices = started_indices()
    if study not in indices:
        near = nearest(study, indices)
        hint = f" Did you mean '{near}'?" if near else ""
        raise Mistake(f"study '{study}' was not run here yet: there is nothing to track.{hint}")
    index = read_json(indices[study])
    plan, place = Path(index["track"]["plan"]), uri or index["uri"]
    from lookback import tracking

    if follow:
        tracking.follow(plan, place, partial(is_over, index), INTERVAL)
        if left := _untrained(index):
            print(f"study '{study}' runs no longer; seeds that are not trained: {', '.join(left)}")
    else:
        tracking.main(plan, place, Path("results", study, "tracked", f"{receipt_of(place)}.json"))


def local_uri() -> str:
    """Where conf/tracking/local.yaml keeps runs."""
    from omegaconf import OmegaConf

    return str(OmegaConf.load(ROOT / "conf/tracking/local.yaml").uri)


def is_over(index: dict[str, Any]) -> bool:
    """Whether a study trains no more: all is finished, or it was stopped, or lost a seed.

    A job that outlived its Snakemake trains on; the lock of its seed says so.
    """
    if is_held():
        return not _untrained(index)
    return not any(is_held(store.lock(folder)) for folder in _seeds(index).values() if folder)


def _untrained(index: dict[str, Any]) -> list[str]:
    """The seeds of a study that are not finished."""
    return [seed for seed, folder in _seeds(index).items() if not folder or not store.done(folder)]


def _seeds(index: dict[str, Any]) -> dict[str, Path | None]:
    """The folder of each seed of a study; none before its task is prepared."""
    found: dict[str, Path | None] = {}
    for cell, stages in index["cells"].items():
        folder = Path("results", index["study"]["name"], cell)
        plan = Path(stages["train"]["plan"])
        runs = store.runs_folder(plan, folder.parent / "task.json", folder / store.TUNED)
        for seed in index["study"]["seeds"]:
            found[f"{cell} seed {seed}"] = store.seed_folder(runs, seed) if runs else None
    return found
