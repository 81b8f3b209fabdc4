"""The store of finished seeds, results/.runs/: light, so that a terminal or a tracker may read it.

`results/.runs/<key>/seed=<n>/` holds what training a seed leaves. Snakemake deletes the declared
outputs of a job before it runs it again; this store it does not know, so a seed is trained once.
"""

import copy
import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lookback.files import digest, read_json, write_text
from lookback.lineage import plans_of

RUNS = Path("results/.runs")
TUNING_SEED = 10_000  # of every trial: no study that tunes may have it among its own
TUNED = "tune.json"  # in a cell's folder: what tuning chose
WANTED = ".wanted"  # in a cell's folder: the plan of a stage that was started last


def settings_of(plan: Path, tuned: Path) -> dict[str, Any] | None:
    """What a train plan says, with what its tuning chose; None while that is not to be read.

    By which plan the values were chosen is left out: chosen by another one, they are the same.
    """
    said: dict[str, Any] = read_json(plan)
    tuned_by = said.pop("tuned_by", None)
    if tuned_by is None:
        return said
    if plans_of(tuned).get("tune") != tuned_by:
        return None
    return laid(said, read_json(tuned)["chosen"])


def laid(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `settings` with `values` in it, by their dotted keys: «recipe.optimizer.lr»."""
    result = copy.deepcopy(dict(settings))
    for key, value in values.items():
        *way, last = key.split(".")
        node = result
        for word in way:
            node = node[word]
        node[last] = value
    return result


def runs_folder(plan: Path, task: Path, tuned: Path = Path(TUNED)) -> Path | None:
    """Where the seeds of a train plan on a task lie; `tuned` is the cell's tune.json, if any.

    None while task.json, or tune.json by the plan that the train plan names, is not there. The key
    holds what they say, not by which plan it was said: data prepared, or values chosen, by other
    code to the same end leave the seeds valid.
    """
    settings = settings_of(plan, tuned) if task.exists() else None
    return None if settings is None else _folder(settings, task)


def trials_folder(plan: Path, task: Path) -> Path:
    """Where the trials of a tune plan on a task lie: whatever else is tried, one is kept."""
    settings = read_json(plan)
    return _folder({name: it for name, it in settings.items() if name != "tune"}, task)


def trial_folder(trials: Path, values: Mapping[str, Any], budget: Mapping[str, Any] | None) -> Path:
    """The folder of one trial."""
    return trials / f"trial={digest(json.dumps([values, budget], sort_keys=True))}"


def _folder(settings: Mapping[str, Any], task: Path) -> Path:
    said = {name: value for name, value in read_json(task).items() if name != "plans"}
    return RUNS / digest(json.dumps([settings, said], sort_keys=True))


def seed_folder(runs: Path, seed: int) -> Path:
    """The folder of one seed."""
    return runs / f"seed={seed}"


def journal(folder: Path) -> Path:
    """The journal of a seed's folder."""
    return folder / "journal.jsonl"


def lock(folder: Path) -> Path:
    """What is locked while a process works in a folder."""
    return folder / ".lock"


def done(folder: Path) -> bool:
    """Whether the seed in `folder` was trained to its end, good or bad."""
    return (folder / "done.json").exists() or failed(folder).exists()


def failed(folder: Path) -> Path:
    """The mark of a seed that diverged; deleted, it is trained again."""
    return folder / "failed.json"


def failure(folder: Path) -> str:
    """Why the seed in `folder` was lost; empty where it was not."""
    return str(read_json(failed(folder))["reason"]) if failed(folder).exists() else ""


def want(cell: Path, plan: str, stage: str = "train") -> None:
    """Say under which plan a stage's files of a cell are wanted from now on."""
    with locked(cell):
        write_text(cell / f"{WANTED}.{stage}", f"{plan}\n")


def is_wanted(cell: Path, plan: str, stage: str = "train") -> bool:
    """Whether no other plan was started for a cell since: ask while it is locked."""
    note = cell / f"{WANTED}.{stage}"
    return not note.exists() or note.read_text(encoding="utf-8").strip() == plan


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a seed, or a cell, alone; waits for a trainer that outlived its Snakemake."""
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
