"""The store of trained networks, in the folders results/.runs/<key>/seed=<n>/.

Snakemake deletes the declared outputs of a job before it runs the job again. The folders in
results/.runs/ are not declared outputs, so Snakemake does not delete finished training runs, and no
training run is repeated. This module imports neither torch nor numpy, because planning and the
terminal display import this module and must start quickly.
"""

import copy
import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lookback.storage.atomic import digest, read_json, write_json, write_text
from lookback.storage.cell_paths import CellPaths, SeedPaths
from lookback.storage.contents import Contents, contents_of, have_digests, have_sizes
from lookback.storage.paths import RUNS, lock_file
from lookback.storage.provenance import DAMAGED, plans_of

TUNING_SEED = 10_000  # the first seed of all tuning trials; a study must use other seeds


def train_settings(plan: Path, tuning: Path | None) -> dict[str, Any] | None:
    """The settings of a plan for training, including the values that tuning chose.

    `tuning` is the path of tune.json. Returns None if the plan for training needs the result of a
    plan for tuning, and tune.json does not contain this result. The settings do not contain the
    digest of the plan for tuning, so trained networks are reused if another plan for tuning chooses
    the same values.
    """
    settings: dict[str, Any] = read_json(plan)
    tuned_by = settings.pop("tuned_by", None)
    if tuned_by is None:
        return settings
    if tuning is None or plans_of(tuning).get("tune") != tuned_by:
        return None
    return with_values(settings, read_json(tuning)["chosen"])


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `settings` in which `values` replace the old values.

    The keys of `values` are dotted paths, such as «recipe.optimizer.lr».
    """
    result = copy.deepcopy(dict(settings))
    for dotted_key, value in values.items():
        *parents, last = dotted_key.split(".")
        node = result
        for parent in parents:
            node = node[parent]
        node[last] = value
    return result


def runs_folder(plan: Path, task: Path, tuning: Path | None = None) -> Path | None:
    """The folder that contains the training runs of all seeds of a plan for training.

    `task` is the path of task.json. Returns None if task.json is missing, or if the plan needs a
    tuning result that is missing. The name of the folder depends on the contents of task.json and
    tune.json, but not on the plans from which these files were made. Trained networks are therefore
    reused if changed code prepares the same data.
    """
    settings = train_settings(plan, tuning) if task.exists() else None
    return None if settings is None else _folder(settings, task)


def trials_folder(plan: Path, task: Path) -> Path:
    """The folder that contains all trials of a plan for tuning.

    The name of the folder does not depend on the hyperparameter values that the trials try.
    """
    settings = read_json(plan)
    return _folder({name: value for name, value in settings.items() if name != "tune"}, task)


def trial_folder(
    trials: Path, values: Mapping[str, Any], budget: Mapping[str, Any] | None, seed: int
) -> Path:
    """The folder of one seed of a trial."""
    settings = [values, budget, *([seed] if seed != TUNING_SEED else [])]
    return trials / f"trial={digest(json.dumps(settings, sort_keys=True))}"


def _folder(settings: Mapping[str, Any], task: Path) -> Path:
    """The folder whose name is a digest of `settings` and of task.json without the key `plans`."""
    facts = {name: value for name, value in read_json(task).items() if name != "plans"}
    return RUNS / digest(json.dumps([settings, facts], sort_keys=True))


def seed_folder(runs: Path, seed: int) -> Path:
    """The folder of one seed."""
    return runs / f"seed={seed}"


def mark_finished(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write done.json, with `facts` and a list of the files of the training run in `folder`.

    All these files must be synced to the disk before the call.
    """
    seed = SeedPaths(folder)
    files = (seed.journal, seed.weights, seed.result, seed.predictions, seed.cost)
    contents = contents_of(folder, [path for path in files if path.exists()])
    write_json(seed.done, {**facts, "files": contents})


def is_finished(folder: Path) -> bool:
    """Whether the training run in `folder` has diverged, or has finished with all its files.

    The function compares the sizes of the files with done.json, and does not read the files.
    """
    return bool(failure(folder)) or have_sizes(folder, _listed(folder))


def is_intact(folder: Path) -> bool:
    """Whether the training run in `folder` has diverged, or has finished with undamaged files.

    The function compares the digests of the files with done.json.
    """
    return bool(failure(folder)) or have_digests(folder, _listed(folder))


def _listed(folder: Path) -> Contents:
    """The list of files in done.json.

    If done.json is missing or damaged, the list names done.json with an impossible size.
    """
    done = SeedPaths(folder).done
    try:
        contents: Contents = read_json(done)["files"]
    except DAMAGED:
        return {done.name: {"size": -1, "digest": ""}}
    return contents


def failure(folder: Path) -> str:
    """The reason why the training run in `folder` diverged, or an empty string if it did not.

    A damaged failed.json counts as missing.
    """
    try:
        return str(read_json(SeedPaths(folder).failed)["reason"])
    except DAMAGED:
        return ""


def set_wanted(cell: Path, plan: str, stage: str = "train") -> None:
    """Record that the plan with digest `plan` is the latest for `stage` in the folder `cell`."""
    with locked(cell):
        write_text(CellPaths(cell).wanted_note(stage), f"{plan}\n")


def is_wanted(cell: Path, plan: str, stage: str = "train") -> bool:
    """Whether the plan with digest `plan` is the latest for `stage` in the folder `cell`.

    The caller must hold the lock of the folder `cell`.
    """
    note = CellPaths(cell).wanted_note(stage)
    return not note.exists() or note.read_text(encoding="utf-8").strip() == plan


def plans_of_run(folder: Path) -> set[str]:
    """The digests of the plans that the training runs and trials in the folder `folder` name.

    A training run names its plan in done.json and failed.json, and in the first line of its
    journal.
    """
    plans = set()
    for run in folder.glob("*=*"):
        seed = SeedPaths(run)
        for path in (seed.done, seed.failed):
            try:
                plans.add(str(read_json(path)["plan"]))
            except DAMAGED:
                continue
        try:
            with seed.journal.open(encoding="utf-8") as lines:
                plans.add(str(json.loads(lines.readline())["plan"]))
        except DAMAGED:
            continue
    return plans


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder of a seed, or of one task and one model, during the `with` block.

    The function waits while another process holds the lock. The process that holds the lock may be
    a training job that still runs after its Snakemake process has ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file(folder).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
