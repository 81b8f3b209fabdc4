"""Write the plan files of a study, immutable files named by the digest of their content.

Only Snakemake's main process writes plan files. Each job of a study (one run of a stage) reads one
plan file. A plan file holds the settings that a stage reads, the fingerprints of the code that the
stage imports, and the versions of the libraries that the stage imports. The plan file is an input
of the stage's Snakemake rule. If a stage gets a plan file with other content, the path of the plan
file is new, so Snakemake reruns the stage. Each result file stores the digests of the plan files
that it was made from. A comparison of the old and the new plan file shows why a stage is rerun. The
index file of a study lists all plan files of the study.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lookback.errors import UserError
from lookback.planning import code_copy
from lookback.planning.code_fingerprints import Fingerprints, fingerprints
from lookback.planning.input_files import input_files
from lookback.planning.outdated_results import rerun_outdated_results
from lookback.planning.plan_writer import ByIdentity, PlanWriter
from lookback.planning.study import CellKey, Study
from lookback.planning.targets import own_modules
from lookback.runtime.gpu_lease import local_gpus
from lookback.storage import run_store
from lookback.storage.atomic import digest, read_json, write_json, write_text
from lookback.storage.paths import LAYOUT
from lookback.storage.provenance import DAMAGED
from lookback.storage.secrets import redacted
from lookback.storage.study_paths import StudyPaths, index_notes

# Version of the file formats in results/. Increase it if new code would misread old files.
LAYOUT_VERSION = 1
READABLE = 60  # maximum length of the readable part of a receipt's name
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
    writer = PlanWriter(fingerprints(home))
    datasets, tasks = _data_stages(writer, study)
    cells = {f"{task}/{model}": stages for (task, model), stages in _cells(writer, study)}
    expected = {name: _expected_plans(name, datasets, tasks, cell) for name, cell in cells.items()}
    described = {"study": _description(study)}
    # These plan files keep the study's order of tasks and models, for the tables and figures.
    of_study = {
        stage: _stage(
            writer.stage(
                stage,
                _roots(stage, study, writer.code),
                described,
                sort_keys=False,
                digests={"cells": expected},
            )
        )
        for stage in ("summarise", "report", "track")
    }
    index = {
        **described,
        "code": str(home),
        "datasets": datasets,
        "tasks": tasks,
        "cells": cells,
        **of_study,
        "uri": redacted(study.tracking["uri"]),
        "receipt": receipt_of(study.tracking["uri"]),
        # Number of GPUs for each local job. The Snakemake profile of a cluster sets its own number.
        "gpus": int(_wants_gpu(study) and bool(local_gpus())),
    }
    path = writer.index(index)
    rerun_outdated_results(index, expected)
    return path


def _data_stages(writer: PlanWriter, study: Study) -> tuple[dict[str, Stage], dict[str, Any]]:
    """Write the plan files for downloading all datasets and preparing all tasks of a study."""
    datasets: dict[str, Stage] = {}
    tasks: dict[str, Any] = {}
    for (task, _), config in study.cells.items():
        if task in tasks:
            continue
        dataset = config.task.get("dataset")
        if dataset:
            datasets[dataset["name"]] = _stage(
                writer.stage(
                    "download",
                    [STAGE_MODULES["download"]],
                    {"dataset": _without_mirrors(dataset)},
                    sort_keys=True,
                    unnamed={"dataset": dataset},
                )
            )
        settings = {"task": _task(config.task)}
        if files := input_files(config.task):
            settings["files"] = files
        plan = writer.stage("prepare", [STAGE_MODULES["prepare"]], settings, sort_keys=True)
        tasks[task] = {"dataset": dataset["name"] if dataset else None, "prepare": _stage(plan)}
    return datasets, tasks


def _cells(writer: PlanWriter, study: Study) -> Iterator[tuple[CellKey, dict[str, Any]]]:
    """Write the plan files for tuning, training, probing and explaining each model on each task."""
    task_of = ByIdentity(_task)
    # Probes and explainers import the modules of the model and the task. Their plan files do not
    # hold the settings of the model and the task, which they read from the results of the training.
    modules_of = ByIdentity(
        lambda config: {"_target_": sorted(set(own_modules(config, writer.code.hashes)))}
    )

    def planned(stage: str, settings: Mapping[str, Any]) -> Stage:
        return _stage(writer.stage(stage, [STAGE_MODULES[stage]], settings, sort_keys=True))

    for key, config in study.cells.items():
        trained = {name: getattr(config, name) for name in ("model", "recipe", "trainer")}
        trained |= {"task": task_of(config.task), "match": study.match}
        modules = {"model": modules_of(config.model), "task": modules_of(config.task)}
        cell: dict[str, Any] = {}
        if study.tune:
            cell["tune"] = planned("tune", {**trained, "tune": study.tune})
            trained["tuned_by"] = _digest(cell["tune"])
        cell["train"] = planned("train", trained)
        for stage, name, options in (
            ("probe", "probe", study.probes),
            ("explain", "explainer", study.explainers),
        ):
            cell[stage] = {
                option: planned(stage, {name: settings, **modules})
                for option, settings in options.items()
            }
        yield key, cell


def _roots(stage: str, study: Study, code: Fingerprints) -> list[str]:
    """The modules with which a stage of the whole study starts.

    The report imports the figure module of each probe by name, which grimp cannot detect.
    """
    figures = [f"lookback.report.figures.{probe}" for probe in study.probes]
    figures = [figure for figure in figures if figure in code.hashes]
    return [STAGE_MODULES[stage], *(figures if stage == "report" else [])]


def _stage(plan: Path) -> Stage:
    return {"plan": str(plan)}


def _digest(stage: Stage) -> str:
    return stage["plan"].rpartition("/")[2].removesuffix(".yaml")


def _task(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a task, without the mirrors (download URLs) of its dataset."""
    task = dict(settings)
    if "dataset" in task:
        task["dataset"] = _without_mirrors(task["dataset"])
    return task


def _without_mirrors(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a dataset, without its mirrors. All mirrors hold equal, verified content."""
    return {key: value for key, value in dataset.items() if key != "mirrors"}


def _description(study: Study) -> dict[str, Any]:
    """The description of a study for the stages `summarise`, `report` and `track`.

    The description holds all settings of the study except those for tracking.
    """
    tasks = {task: _task(config.task) for (task, _), config in study.cells.items()}
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


def _wants_gpu(study: Study) -> bool:
    return any(config.trainer["devices"] != "cpu" for config in study.cells.values())


def receipt_of(uri: str) -> str:
    """The name, without suffix, of the file that lists a study's MLflow runs at the URI `uri`.

    The name is a readable part and a digest of the URI without its secrets. URIs that differ have
    different names, except that a new password keeps the name.
    """
    shown = redacted(uri)
    readable = re.sub(r"[^a-zA-Z0-9.-]+", "_", shown).strip("_.")
    return f"{readable[:READABLE]}-{digest(shown)}"


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

    Studies whose index file was deleted or damaged are left out.
    """
    indices = {}
    for note in index_notes():
        index = Path(note.read_text(encoding="utf-8").strip())
        try:
            read_json(index)["study"]
        except DAMAGED:
            continue
        indices[note.parent.name] = index
    return indices


def _check_layout() -> None:
    """Raise UserError if results/ has the file formats of another version of lookback."""
    if not LAYOUT.exists():
        write_json(LAYOUT, {"layout": LAYOUT_VERSION})
    try:
        layout = read_json(LAYOUT)["layout"]
    except DAMAGED as error:
        raise UserError(
            f"{LAYOUT} is damaged. If this version of lookback wrote results/, delete the file."
        ) from error
    if layout != LAYOUT_VERSION:
        raise UserError(
            f"another version of lookback wrote results/ (layout {layout}; this version needs "
            f"layout {LAYOUT_VERSION}).\nMove results/ away, or use the other version."
        )
