"""`lookback clean`: deletes the plans, code copies and finished seeds that no result refers to."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lookback.files import read_json
from lookback.held import hold
from lookback.lineage import plans_of
from lookback.plan import PLANS, started_indices
from lookback.snapshot import CODE
from lookback.training.store import RUNS, TUNED, runs_folder, trials_folder

STUDIES = Path("results")


def clean() -> None:
    """Delete what nothing refers to, and say how much that was.

    A plan is referred to by a result that names it, or by a study's last index; a finished
    seed by a trained cell, or a cell of such an index; a copy of the code by such an index.

    Raises Mistake while a study runs.
    """
    with hold():
        _clean()


def _clean() -> None:
    kept_plans, kept_code, kept_runs = set(_named_by_results()), set(), set()
    for index in started_indices().values():
        kept_plans |= {index.stem, *_plans_in(read_json(index))}
        kept_code.add(Path(read_json(index)["code"]).name)
        kept_runs |= set(_runs_of(read_json(index)))
    for cell in STUDIES.glob("*/*/*/"):
        named = {**plans_of(cell / TUNED), **plans_of(cell / "metrics.json")}
        kept_runs |= set(
            _kept_of(cell, {s: PLANS / s / f"{name}.yaml" for s, name in named.items()})
        )
    freed = 0
    freed += _prune(PLANS.glob("*/*.yaml"), kept_plans)
    freed += _prune(CODE.glob("*"), kept_code)
    freed += _prune(RUNS.glob("*"), kept_runs)
    print(f"deleted {freed / 2**20:.1f} MiB; {len(kept_runs)} trained cells keep their seeds")


def _runs_of(index: dict[str, Any]) -> Iterator[str]:
    """The folders of the seeds that a study's cells have or, stopped, will go on with."""
    for cell, stages in index["cells"].items():
        plans = {s: Path(stages[s]["plan"]) for s in ("tune", "train") if s in stages}
        yield from _kept_of(STUDIES / index["study"]["name"] / cell, plans)


def _kept_of(cell: Path, plans: Mapping[str, Path]) -> Iterator[str]:
    """The folders of a cell's trials and seeds under these plans, as far as they are there."""
    task = cell.parent / "task.json"
    there = {stage for stage, plan in plans.items() if plan.exists() and task.exists()}
    if "tune" in there:
        yield trials_folder(plans["tune"], task).name
    if "train" in there and (runs := runs_folder(plans["train"], task, cell / TUNED)):
        yield runs.name


def _named_by_results() -> Iterator[str]:
    for pattern in ("metrics.json", TUNED, "probe/*.parquet", "explain/*.npz"):
        for path in STUDIES.glob(f"*/*/*/{pattern}"):
            yield from plans_of(path).values()
    for path in STUDIES.glob("*/*/task.json"):
        yield from plans_of(path).values()


def _plans_in(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("plan"), str):
            yield Path(node["plan"]).stem
        for value in node.values():
            yield from _plans_in(value)


def _prune(paths: Iterator[Path], kept: set[str]) -> int:
    """Delete the paths whose stem is not kept; the bytes freed."""
    freed = 0
    for path in list(paths):
        if path.stem not in kept:
            files = [path] if path.is_file() else [it for it in path.rglob("*") if it.is_file()]
            freed += sum(it.stat().st_size for it in files)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return freed
