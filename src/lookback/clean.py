"""`lookback clean`: deletes the plans, code copies and finished seeds that no result refers to."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lookback.files import read_json
from lookback.held import hold
from lookback.lineage import plans_of
from lookback.plan import PLANS, started_indices
from lookback.snapshot import CODE
from lookback.training.store import RUNS, runs_folder

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
    for metrics in STUDIES.glob("*/*/*/metrics.json"):
        plan = PLANS / "train" / f"{plans_of(metrics).get('train')}.yaml"
        task = metrics.parents[1] / "task.json"
        if plan.exists() and task.exists():
            kept_runs.add(runs_folder(plan, task).name)
    freed = 0
    freed += _prune(PLANS.glob("*/*.yaml"), kept_plans)
    freed += _prune(CODE.glob("*"), kept_code)
    freed += _prune(RUNS.glob("*"), kept_runs)
    print(f"deleted {freed / 2**20:.1f} MiB; {len(kept_runs)} trained cells keep their seeds")


def _runs_of(index: dict[str, Any]) -> Iterator[str]:
    """The folders of the seeds that a study's cells have or, stopped, will go on with."""
    for cell, stages in index["cells"].items():
        task = STUDIES / index["study"]["name"] / Path(cell).parent / "task.json"
        plan = Path(stages["train"]["plan"])
        if task.exists() and plan.exists():
            yield runs_folder(plan, task).name


def _named_by_results() -> Iterator[str]:
    for pattern in ("metrics.json", "probe/*.parquet", "explain/*.npz"):
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
