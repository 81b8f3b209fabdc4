"""The store of finished seeds, results/.runs/: light, so that a terminal or a tracker may read it.

`results/.runs/<key>/seed=<n>/` holds what training a seed leaves. Snakemake deletes the declared
outputs of a job before it runs it again; this store it does not know, so a seed is trained once.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lookback.files import digest, read_json, write_text

RUNS = Path("results/.runs")
WANTED = ".wanted"  # in a cell's folder: the train plan that was started last


def runs_folder(plan: Path, task: Path) -> Path:
    """Where the seeds of a train plan on a task lie.

    The key holds what the task says (task.json), not by which plan it was said: data prepared by
    other code to the same end leaves the seeds that were trained on it valid.
    """
    said = {name: value for name, value in read_json(task).items() if name != "plans"}
    return RUNS / digest(f"{plan.stem} {sorted(said.items())}")


def seed_folder(runs: Path, seed: int) -> Path:
    """The folder of one seed."""
    return runs / f"seed={seed}"


def journal(folder: Path) -> Path:
    """The journal of a seed's folder."""
    return folder / "journal.jsonl"


def done(folder: Path) -> bool:
    """Whether the seed in `folder` was trained to its end, good or bad."""
    return (folder / "done.json").exists() or failed(folder).exists()


def failed(folder: Path) -> Path:
    """The mark of a seed that diverged; deleted, it is trained again."""
    return folder / "failed.json"


def failure(folder: Path) -> str:
    """Why the seed in `folder` was lost; empty where it was not."""
    return str(read_json(failed(folder))["reason"]) if failed(folder).exists() else ""


def want(cell: Path, plan: str) -> None:
    """Say under which train plan a cell's files are wanted from now on."""
    with locked(cell):
        write_text(cell / WANTED, f"{plan}\n")


def is_wanted(cell: Path, plan: str) -> bool:
    """Whether no other plan was started for a cell since: ask while it is locked."""
    note = cell / WANTED
    return not note.exists() or note.read_text(encoding="utf-8").strip() == plan


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a seed, or a cell, alone; waits for a trainer that outlived its Snakemake."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
