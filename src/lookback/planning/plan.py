"""Write the plan files of a study, immutable files named by the digest of their content.

Only Snakemake's main process writes plan files. Each job of a study (one run of a stage) reads one
plan file. A plan file holds the settings that a stage reads, the fingerprints of the code that the
stage imports, and the versions of the libraries that the stage imports. The plan file is an input
of the stage's Snakemake rule. If a stage gets a plan file with other content, the path of the plan
file is new, so Snakemake reruns the stage. Each result file stores the digests of the plan files
that it was made from. A comparison of the old and the new plan file shows why a stage is rerun. The
index file of a study lists all plan files of the study.
"""

import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lookback.errors import UserError
from lookback.planning import code_copy
from lookback.planning.code_fingerprints import Fingerprints, fingerprints
from lookback.planning.libraries import COUNTED, versions_of
from lookback.planning.study import CellConfig, Study
from lookback.planning.targets import foreign_packages, own_targets
from lookback.planning.unrecorded_results import touch_plans_of_outdated_results
from lookback.runtime.gpu_lease import local_gpus
from lookback.storage import run_store
from lookback.storage.atomic import digest, read_json, write_json, write_text
from lookback.storage.paths import LAYOUT, plan_file
from lookback.storage.study_paths import StudyPaths, index_notes

# Version of the file formats in results/. Increase it if new code would misread old files.
LAYOUT_VERSION = 1
STAGE_MODULES = {
    "download": "lookback.data.download",
    "prepare": "lookback.data.prepare",
    "tune": "lookback.training.tune",
    "train": "lookback.training.train",
    "probe": "lookback.probes.probe",
    "explain": "lookback.explain.explain",
    "summarise": "lookback.summarise.summarise",
    "report": "lookback.report.report",
    "track": "lookback.tracking.track",
}
Stage = dict[str, str]  # {"plan": path}


def make(root: Path, study: Study) -> Path:
    """Write all plan files of `study`, and the index file that lists them.

    `root` is the folder of the project. Returns the path of the index file. Raises UserError if
    another version of lookback wrote results/ with other file formats.
    """
    _check_layout()
    home = code_copy.take(root)
    planner = _Planner(fingerprints(home))
    datasets, tasks, cells = {}, {}, {}
    for (task, model), config in study.cells.items():
        if task not in tasks:
            dataset = config.task.get("dataset")
            if dataset:
                datasets[dataset["name"]] = planner.download(dataset)
            tasks[task] = {
                "dataset": dataset["name"] if dataset else None,
                "prepare": planner.stage("prepare", task=_task(config)),
            }
        cells[f"{task}/{model}"] = planner.cell(study, config)
    body = {
        "study": _description(study),
        "cells": {
            name: _expected_plans(name, datasets, tasks, cell) for name, cell in cells.items()
        },
    }
    index = {
        "study": body["study"],
        "code": str(home),
        "datasets": datasets,
        "tasks": tasks,
        "cells": cells,
        **{stage: planner.stage(stage, **body) for stage in ("summarise", "report", "track")},
        "uri": study.tracking["uri"],
        "receipt": receipt_of(study.tracking["uri"]),
        # Number of GPUs for each local job. The Snakemake profile of a cluster sets its own number.
        "gpus": int(_wants_gpu(study) and bool(local_gpus())),
    }
    touch_plans_of_outdated_results(index, body["cells"])
    return _put("study", index)


class _Planner:
    """Writes plan files with the fingerprints of one copy of the code."""

    def __init__(self, code: Fingerprints):
        self.code = code

    def stage(self, name: str, **body: Any) -> Stage:
        """Write the plan file of the stage `name`, which reads the settings `body`."""
        roots = [STAGE_MODULES[name], *own_targets(body)]
        if name == "report":
            # The report imports the figure module of each probe by name, which grimp cannot detect.
            figures = (f"lookback.report.figures.{probe}" for probe in body["study"]["probes"])
            roots += [figure for figure in figures if figure in self.code.hashes]
        code = self.code.of(roots)
        packages = (self.code.packages(code) & COUNTED) | set(foreign_packages(body))
        libraries = {"python": platform.python_version(), **versions_of(frozenset(packages))}
        plan = {"stage": name, **body, "code": code, "libraries": libraries}
        return {"plan": str(_put(name, plan))}

    def download(self, dataset: Mapping[str, Any]) -> Stage:
        """Write the plan file for the download of a dataset.

        The name of the plan file does not depend on the mirrors (download URLs) of the dataset. The
        mirrors are written into the plan file without a change of its time stamp, so that a new
        mirror reruns no stage.
        """
        planned = self.stage("download", dataset=_verified(dataset))
        path = Path(planned["plan"])
        plan, times = read_json(path), path.stat()
        if plan["dataset"] != dataset:
            write_json(path, {**plan, "dataset": dataset})
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        return planned

    def cell(self, study: Study, config: CellConfig) -> dict[str, Any]:
        """Write the plan files for tuning, training, probing and explaining a model on a task."""
        trained = {name: getattr(config, name) for name in ("model", "recipe", "trainer")}
        trained |= {"task": _task(config), "match": study.match}
        cell: dict[str, Any] = {}
        if study.tune:
            cell["tune"] = self.stage("tune", **trained, tune=study.tune)
            trained["tuned_by"] = _digest(cell["tune"])
        return cell | {
            "train": self.stage("train", **trained),
            "probe": {
                name: self.stage("probe", probe=probe, **_targets_of(config))
                for name, probe in study.probes.items()
            },
            "explain": {
                name: self.stage("explain", explainer=explainer, **_targets_of(config))
                for name, explainer in study.explainers.items()
            },
        }


def _task(config: CellConfig) -> dict[str, Any]:
    """The settings of a task, without the mirrors (download URLs) of its dataset."""
    task = dict(config.task)
    if "dataset" in task:
        task["dataset"] = _verified(task["dataset"])
    return task


def _verified(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a dataset, without its mirrors. All mirrors hold equal, verified content."""
    return {key: value for key, value in dataset.items() if key != "mirrors"}


def _targets_of(config: CellConfig) -> dict[str, Any]:
    """The modules of a model and a task, which probes and explainers import.

    The settings of the model and the task are left out, because probes and explainers read them
    from the result files of the training.
    """
    return {
        "model": {"_target_": sorted(set(own_targets(config.model)))},
        "task": {"_target_": sorted(set(own_targets(config.task)))},
    }


def _put(stage: str, content: Mapping[str, Any]) -> Path:
    """Write a plan file, named by the digest of its content, unless the file exists.

    Returns the path of the plan file.
    """
    # Plan files that describe a whole study keep its order of models, for the tables and figures.
    # All other plan files have sorted keys, because the order of their keys has no meaning.
    ordered = stage in ("summarise", "report", "track", "study")
    text = json.dumps(content, indent=1, sort_keys=not ordered, ensure_ascii=False) + "\n"
    path = plan_file(stage, digest(text))
    if not path.exists():
        write_text(path, text)
    return path


def _description(study: Study) -> dict[str, Any]:
    """The description of a study for the stages `summarise`, `report` and `track`.

    The description holds all settings of the study except those for tracking.
    """
    tasks = {task: _task(config) for (task, _), config in study.cells.items()}
    models = {model: config.model for (_, model), config in study.cells.items()}
    left_out = ("cells", "tracking", "match")
    facts = {key: value for key, value in asdict(study).items() if key not in left_out}
    trained = {
        f"{task}/{model}": {"recipe": config.recipe, "trainer": config.trainer}
        for (task, model), config in study.cells.items()
    }
    return {**facts, "tasks": tasks, "models": models, "trained": trained, "matched": study.match}


def _expected_plans(
    name: str, datasets: Mapping[str, Stage], tasks: Mapping[str, Any], cell: Mapping[str, Any]
) -> dict[str, Any]:
    """The digests of the plan files from which all results of one model on one task are made.

    `name` is the task and the model, such as «adding/gru». A result is up to date if it stores
    these digests.
    """
    task = tasks[name.partition("/")[0]]
    before = {"prepare": _digest(task["prepare"])}
    if task["dataset"]:
        before["download"] = _digest(datasets[task["dataset"]])
    tuned = {"tune": _digest(cell["tune"])} if "tune" in cell else {}
    plans = {**before, **tuned, "train": _digest(cell["train"])}
    measured = {
        stage: {option: {**plans, stage: _digest(plan)} for option, plan in cell[stage].items()}
        for stage in ("probe", "explain")
    }
    return {**({"tune": before | tuned} if tuned else {}), "train": plans, **measured}


def _digest(stage: Stage) -> str:
    return Path(stage["plan"]).stem


def _wants_gpu(study: Study) -> bool:
    return any(config.trainer["devices"] != "cpu" for config in study.cells.values())


def receipt_of(uri: str) -> str:
    """The name, without suffix, of the file that lists a study's MLflow runs at the URI `uri`.

    The file name is made from the URI without the password in the URI.
    """
    without_password = re.sub(r"(?<=://)([^/@:]*):[^@/]*@", r"\1@", uri)
    return re.sub(r"[^\w.-]+", "_", without_password).strip("_")


def start(index: Path) -> None:
    """Record that the study now runs with the plan files that the file `index` lists.

    A dry run does not call this function.
    """
    planned = read_json(index)
    study = StudyPaths.of(planned["study"]["name"])
    for cell, stages in planned["cells"].items():
        for stage in {"tune", "train"} & set(stages):
            run_store.set_wanted(study.folder / cell, _digest(stages[stage]), stage)
    write_text(study.index_note, f"{index}\n")


def started_indices() -> dict[str, Path]:
    """For each study, the path of the index file with which the study was last started.

    Studies whose index file was deleted are left out.
    """
    indices = {
        path.parent.name: Path(path.read_text(encoding="utf-8").strip()) for path in index_notes()
    }
    return {study: index for study, index in indices.items() if index.exists()}


def _check_layout() -> None:
    """Raise UserError if results/ has the file formats of another version of lookback."""
    if not LAYOUT.exists():
        write_json(LAYOUT, {"layout": LAYOUT_VERSION})
    layout = read_json(LAYOUT).get("layout")
    if layout != LAYOUT_VERSION:
        raise UserError(
            f"another version of lookback wrote results/ (layout {layout}; this version needs "
            f"layout {LAYOUT_VERSION}).\nMove results/ away, or use the other version."
        )
