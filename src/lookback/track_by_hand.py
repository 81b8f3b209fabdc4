"""`lookback track [--follow] [study=NAME] [uri=URI]`: a study to MLflow, also while it runs."""

from functools import partial
from pathlib import Path
from typing import Any

from lookback.errors import Mistake, nearest
from lookback.files import read_json
from lookback.plan import receipt_of, started_indices
from lookback.study import DEFAULT_STUDY
from lookback.training.store import TUNED, done, runs_folder, seed_folder

INTERVAL = 2.0  # seconds between two looks at the journals


def track(study: str = DEFAULT_STUDY, uri: str | None = None, *, follow: bool = False) -> None:
    """Write what there is of a study to `uri`, else to its own; `follow`: until it is trained.

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
        tracking.follow(plan, place, partial(_trained, index), INTERVAL)
    else:
        tracking.main(plan, place, Path("results", study, "tracked", f"{receipt_of(place)}.json"))


def _trained(index: dict[str, Any]) -> bool:
    """Whether every seed of the study is finished."""
    for cell, stages in index["cells"].items():
        folder = Path("results", index["study"]["name"], cell)
        plan = Path(stages["train"]["plan"])
        runs = runs_folder(plan, folder.parent / "task.json", folder / TUNED)
        if runs is None:
            return False
        if not all(done(seed_folder(runs, seed)) for seed in index["study"]["seeds"]):
            return False
    return True
