"""`lookback clean`: delete the plans, code copies and finished seeds that no result refers to."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lookback.planning.plan import started_indices
from lookback.storage.atomic import read_json
from lookback.storage.cell_paths import CellPaths, cells_on_disk, tasks_on_disk
from lookback.storage.lock import hold, hold_plans
from lookback.storage.paths import CODE, PLANS, RUNS, plan_file
from lookback.storage.provenance import DAMAGED, plans_of
from lookback.storage.run_store import plans_of_run, runs_folder, trials_folder
from lookback.storage.study_paths import StudyPaths


def clean() -> None:
    """Delete unused plans, code copies and trained networks, and print how many MiB are freed.

    A plan (the settings file of a stage) is kept if a result stores its digest, or if the last run
    of a study used the plan. The trained networks of one model on one task are kept if their
    results exist, or if the last run of a study contained this model and task. A copy of the code
    is kept if the last run of a study used it.

    Raises UserError if a study is running, or if another command uses plan files.
    """
    with hold(), hold_plans():
        _clean()


def _clean() -> None:
    """Delete unused files. The caller must hold the lock of the folder results/."""
    kept_plans, kept_code, kept_runs = set(_plans_of_results()), set(), set()
    for path in started_indices().values():
        index = read_json(path)
        kept_plans |= {path.stem, *_plans_in(index)}
        kept_code.add(Path(index["code"]).name)
        kept_runs |= set(_runs_of_study(index))
    for cell in cells_on_disk():
        digests = {**plans_of(cell.tuning), **plans_of(cell.metrics)}
        plans = {stage: plan_file(stage, digest) for stage, digest in digests.items()}
        kept_runs |= set(_runs_of_cell(cell, plans))
    # The name of a folder cannot be computed if task.json or tune.json is lost.
    kept_runs |= {path.name for path in RUNS.glob("*") if plans_of_run(path) & kept_plans}
    freed = 0
    freed += _prune(PLANS.glob("*/*.yaml"), kept_plans)
    freed += _prune(CODE.glob("*"), kept_code)
    freed += _prune(RUNS.glob("*"), kept_runs)
    print(f"deleted {freed / 2**20:.1f} MiB; {len(kept_runs)} trained cells keep their seeds")


def _runs_of_study(index: dict[str, Any]) -> Iterator[str]:
    """Names of the folders with trained networks and trials, for all models and tasks of a study.

    `index` is the content of the file that names all plans of the study.
    """
    for name, stages in index["cells"].items():
        plans = {stage: Path(stages[stage]["plan"]) for stage in {"tune", "train"} & stages.keys()}
        yield from _runs_of_cell(
            CellPaths(StudyPaths.of(index["study"]["name"]).folder / name), plans
        )


def _runs_of_cell(cell: CellPaths, plans: Mapping[str, Path]) -> Iterator[str]:
    """Names of the folders with the trained networks and the trials of one model on one task.

    `plans` maps the stages tune and train to the paths of the cell's plan files. The result is
    empty if a file from which the name is computed is missing or damaged.
    """
    task = cell.task.facts
    try:
        if "tune" in plans:
            yield trials_folder(plans["tune"], task).name
        if "train" in plans and (runs := runs_folder(plans["train"], task, cell.tuning)):
            yield runs.name
    except DAMAGED:  # a file is missing or damaged
        return


def _plans_of_results() -> Iterator[str]:
    """The digests of all plan files from which the result files on disk were made."""
    for path in _results():
        yield from plans_of(path).values()


def _results() -> Iterator[Path]:
    """The paths of all result files on disk that contain the digests of plan files."""
    for cell in cells_on_disk():
        yield from (cell.metrics, cell.tuning)
        yield from cell.probe("*").parent.glob(cell.probe("*").name)
        yield from cell.attributions("*").parent.glob(cell.attributions("*").name)
    for task in tasks_on_disk():
        yield task.facts


def _plans_in(node: object) -> Iterator[str]:
    """The digests of all plan files whose paths occur in `node`, a part of a study's index file."""
    if isinstance(node, dict):
        if isinstance(node.get("plan"), str):
            yield Path(node["plan"]).stem
        for value in node.values():
            yield from _plans_in(value)


def _prune(paths: Iterable[Path], kept: set[str]) -> int:
    """Delete each path whose stem is not in `kept`, and return the number of bytes freed."""
    freed = 0
    for path in list(paths):
        if path.stem not in kept:
            files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
            freed += sum(file.stat().st_size for file in files)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return freed
