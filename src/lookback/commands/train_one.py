"""`lookback train task=… model=…`: train one run by hand, into results/by-hand-<digest>/.

The digest stands for all settings and the seed, so each configuration has a folder of its own. The
command runs the same stages as a study, but in this process and without Snakemake.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lookback.errors import UserError
from lookback.planning.plan import make, start
from lookback.planning.study import compose_by_hand
from lookback.runtime.settings import LARGEST_SEED
from lookback.storage.atomic import read_json
from lookback.storage.cell_paths import CellPaths, TaskPaths
from lookback.storage.lock import use_plans
from lookback.storage.paths import PROJECT, manifest_file
from lookback.storage.study_paths import StudyPaths


def train(words: Sequence[str]) -> None:
    """Train one model on one task with one seed, with all stages in this process.

    Raises UserError if the task or the model is missing or unknown, or if an override is invalid.
    """
    choices = dict(
        word.split("=", 1) for word in words if word.split("=")[0] in ("task", "model", "seed")
    )
    overrides = [word for word in words if word.split("=")[0] not in choices]
    for needed in ("task", "model"):
        if needed not in choices:
            raise UserError(f"`lookback train` needs {needed}=NAME: a name from conf/{needed}/.")
    task, model, seed = choices["task"], choices["model"], choices.get("seed", "0")
    if not seed.isdecimal() or int(seed) > LARGEST_SEED:
        raise UserError(
            f"seed={seed} cannot be used: a seed is a whole number from 0 to {LARGEST_SEED}."
        )
    study = compose_by_hand(PROJECT / "conf", task, model, int(seed), overrides)
    for notice in study.notices:
        print(f"lookback: {notice}", file=sys.stderr)
    with use_plans():
        path = make(PROJECT, study)
        start(path)
        index = read_json(path)
        prepared = prepare(index, task)
        cell = CellPaths(prepared.folder / model)
        plan = Path(index["cells"][f"{task}/{model}"]["train"]["plan"])
        train_stage = import_module("lookback.training.train")
        train_stage.main(plan, prepared.facts, [int(seed)], cell.folder)
    print(cell.metrics.read_text(encoding="utf-8"), end="")
    print(f"The files of this run are in {cell.folder}/.", file=sys.stderr)


def prepare(index: Mapping[str, Any], task: str) -> TaskPaths:
    """Download and prepare the data of a task, and return the paths of the task's files.

    `index` is the content of the file that names all plans of the study.
    """
    planned, paths = index["tasks"][task], StudyPaths.of(index["study"]["name"]).task(task)
    if dataset := planned["dataset"]:
        _run_stage("download", index["datasets"][dataset], manifest_file(dataset))
    _run_stage("prepare", planned["prepare"], paths.facts)
    return paths


def _run_stage(name: str, stage: Mapping[str, str], out: Path) -> None:
    """Run the stage `name` (download or prepare) in this process, with the plan file in `stage`."""
    import_module(f"lookback.data.{name}").main(plan=Path(stage["plan"]), out=out)
