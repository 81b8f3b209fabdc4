"""The store of finished seeds, `results/.runs/<key>/seed=<n>/`.

Snakemake deletes the declared outputs of a job before it runs the job again. The store is not a
declared output, so a finished seed is not trained a second time. This module imports neither torch
nor numpy, because the terminal and the tracker read the store while a study runs.
"""

import copy
import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lookback.storage.atomic import digest, read_json, write_text
from lookback.storage.paths import RUNS, CellPaths, SeedPaths, lock_file
from lookback.storage.provenance import plans_of

TUNING_SEED = 10_000  # the seed of every tuning trial; a study that tunes cannot use it


def train_settings(plan: Path, tuning: Path | None) -> dict[str, Any] | None:
    """The settings of a train plan, with the values that tuning chose.

    `tuning` is the path of the cell's tune.json. Returns None if the train plan needs the result of
    a tune plan, and tune.json is missing or is the result of another tune plan. The digest of the
    tune plan is removed from the settings, so the seeds stay valid if another plan chooses the same
    values.
    """
    settings: dict[str, Any] = read_json(plan)
    tuned_by = settings.pop("tuned_by", None)
    if tuned_by is None:
        return settings
    if tuning is None or plans_of(tuning).get("tune") != tuned_by:
        return None
    return with_values(settings, read_json(tuning)["chosen"])


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `settings` with `values` set by dotted key, e.g. «recipe.optimizer.lr»."""
    result = copy.deepcopy(dict(settings))
    for dotted_key, value in values.items():
        *parents, last = dotted_key.split(".")
        node = result
        for parent in parents:
            node = node[parent]
        node[last] = value
    return result


def runs_folder(plan: Path, task: Path, tuning: Path | None = None) -> Path | None:
    """The folder of all seeds of a train plan; `task` is the path of task.json.

    None while task.json, or the tuning result that the plan needs, is missing. The folder's name
    depends on the content of task.json and tune.json, and not on the plans that made them: if new
    code prepares the same data, the seeds stay valid.
    """
    settings = train_settings(plan, tuning) if task.exists() else None
    return None if settings is None else _folder(settings, task)


def trials_folder(plan: Path, task: Path) -> Path:
    """The folder of all trials of a tune plan; its name does not depend on the values to try."""
    settings = read_json(plan)
    return _folder({name: value for name, value in settings.items() if name != "tune"}, task)


def trial_folder(trials: Path, values: Mapping[str, Any], budget: Mapping[str, Any] | None) -> Path:
    """The folder of one trial."""
    return trials / f"trial={digest(json.dumps([values, budget], sort_keys=True))}"


def _folder(settings: Mapping[str, Any], task: Path) -> Path:
    """The folder named by the digest of the settings and of task.json without its plans."""
    facts = {name: value for name, value in read_json(task).items() if name != "plans"}
    return RUNS / digest(json.dumps([settings, facts], sort_keys=True))


def seed_folder(runs: Path, seed: int) -> Path:
    """The folder of one seed."""
    return runs / f"seed={seed}"


def is_finished(folder: Path) -> bool:
    """Whether the seed in `folder` needs no more training: it is done, or it diverged."""
    seed = SeedPaths(folder)
    return seed.done.exists() or seed.failed.exists()


def failure(folder: Path) -> str:
    """Why the seed in `folder` diverged; empty if it did not."""
    mark = SeedPaths(folder).failed
    return str(read_json(mark)["reason"]) if mark.exists() else ""


def set_wanted(cell: Path, plan: str, stage: str = "train") -> None:
    """Note that from now on `plan` (a digest) makes the files of a stage in the folder `cell`."""
    with locked(cell):
        write_text(CellPaths(cell).wanted_note(stage), f"{plan}\n")


def is_wanted(cell: Path, plan: str, stage: str = "train") -> bool:
    """Whether `plan` is still the last plan started for this stage. Lock `cell` before the call."""
    note = CellPaths(cell).wanted_note(stage)
    return not note.exists() or note.read_text(encoding="utf-8").strip() == plan


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder of a seed or of a cell for the duration of the block.

    Waits for the process that holds the lock, e.g. a training job that outlived its Snakemake.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file(folder).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
