"""Write the plan of a study: immutable files named by the digest of their content.

Only Snakemake's main process writes plans. Each stage of each cell has one plan file. The file
holds the settings that the stage reads, the fingerprints of the code that it imports, and the
versions of its libraries. The plan file is an input of the stage's rule: if the content of a plan
changes, its path changes, and Snakemake reruns the stage. Each result stores the digests of its
plans. Comparing an old plan with a new plan shows why a stage is rerun. The index of a study is the
file that names all its plans.
"""

import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import (
    PackageNotFoundError,
    metadata,
    packages_distributions,
    version,
)
from pathlib import Path
from typing import Any

from lookback.errors import UserError
from lookback.planning import code_copy
from lookback.planning.fingerprints import Fingerprints, fingerprints
from lookback.planning.study import CellConfig, Study
from lookback.runtime.devices import local_gpus
from lookback.storage import run_store
from lookback.storage.atomic import digest, read_json, write_json, write_text
from lookback.storage.paths import LAYOUT, CellPaths, StudyPaths, index_notes, plan_file
from lookback.storage.provenance import plans_of

LAYOUT_VERSION = 1  # version of the files in results/; increase it if old files would be misread
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
# A new version of one of these packages can change numbers or figures.
# A plan holds the version of each of these packages that its stage imports.
COUNTED = {
    *("numpy", "scipy", "pandas", "torch", "pytorch_lightning", "numba", "llvmlite", "optuna"),
    *("captum", "sklearn", "matplotlib", "jinja2", "mlflow"),
}
Stage = dict[str, str]  # {"plan": path}


def make(root: Path, study: Study) -> Path:
    """Write all plans of `study` in the project `root`, and the index that names them.

    Returns the path of the index. Raises UserError if another version of lookback wrote results/.
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
        # GPUs of one local job; the profile of a cluster sets its own number.
        "gpus": int(_wants_gpu(study) and bool(local_gpus())),
    }
    _touch_plans_of_outdated_results(index, body["cells"])
    return _put("study", index)


class _Planner:
    """Writes plan files that hold fingerprints of one copy of the code."""

    def __init__(self, code: Fingerprints):
        self.code = code

    def stage(self, name: str, **body: Any) -> Stage:
        """Write the plan of a stage whose settings are `body`."""
        roots = [STAGE_MODULES[name], *_targets(body)]
        if name == "report":
            # The report loads the figure module of a probe by name, so no import leads to it.
            figures = (f"lookback.report.figures.{probe}" for probe in body["study"]["probes"])
            roots += [figure for figure in figures if figure in self.code.hashes]
        code = self.code.of(roots)
        packages = (self.code.packages(code) & COUNTED) | set(_foreign_targets(body))
        libraries = {"python": platform.python_version(), **_versions(frozenset(packages))}
        plan = {"stage": name, **body, "code": code, "libraries": libraries}
        return {"plan": str(_put(name, plan))}

    def download(self, dataset: Mapping[str, Any]) -> Stage:
        """Write the plan of a download.

        The plan's name does not depend on the mirrors. The mirrors are written into the plan
        afterwards, with the old time stamp, so another mirror reruns nothing.
        """
        planned = self.stage("download", dataset=_verified(dataset))
        path = Path(planned["plan"])
        plan, times = read_json(path), path.stat()
        if plan["dataset"] != dataset:
            write_json(path, {**plan, "dataset": dataset})
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        return planned

    def cell(self, study: Study, config: CellConfig) -> dict[str, Any]:
        """Write the plans of all stages of a cell."""
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
    """The settings of a cell's task; its dataset without mirrors."""
    task = dict(config.task)
    if "dataset" in task:
        task["dataset"] = _verified(task["dataset"])
    return task


def _verified(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset without its mirrors: every mirror gives the same verified content."""
    return {key: value for key, value in dataset.items() if key != "mirrors"}


def _targets_of(config: CellConfig) -> dict[str, Any]:
    """The modules of model and task, which a probe or explainer needs to rebuild the network.

    Their settings are left out: a probe reads them from the trained cell.
    """
    return {
        "model": {"_target_": sorted(set(_targets(config.model)))},
        "task": {"_target_": sorted(set(_targets(config.task)))},
    }


def _targets(node: Any) -> Iterator[str]:
    """The module of each `_target_` of lookback."""
    return (name for name in _modules(node) if name.partition(".")[0] == code_copy.PACKAGE)


def _foreign_targets(node: Any) -> Iterator[str]:
    """The package of each third-party `_target_`: «torch» of torch.optim.AdamW."""
    packages = (name.partition(".")[0] for name in _modules(node))
    ours = {code_copy.PACKAGE, *sys.stdlib_module_names}
    return (package for package in packages if package not in ours)


def _modules(node: Any) -> Iterator[str]:
    """The module of each `_target_` inside `node`. A `_target_` that is a list holds modules."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            target = node["_target_"]
            yield from [target.rpartition(".")[0]] if isinstance(target, str) else target
        for value in node.values():
            yield from _modules(value)
    elif isinstance(node, list):
        for value in node:
            yield from _modules(value)


def differences(stage: str, before: str, now: str) -> list[str]:
    """The differences between two plans of a stage, given by their digests.

    Examples: «model.layers 1 → 2», «code of lookback.models.gru». Empty if a plan was deleted.
    """
    paths = [plan_file(stage, name) for name in (before, now)]
    if not all(path.exists() for path in paths):
        return []
    old, new = (dict(_flat(read_json(path))) for path in paths)
    changed = [key for key in {**old, **new} if old.get(key, "–") != new.get(key, "–")]
    code = [f"code of {key.removeprefix('code.')}" for key in changed if key.startswith("code.")]
    settings = [
        f"{key.removeprefix('libraries.')} {old.get(key, '–')} → {new.get(key, '–')}"
        for key in changed
        if not key.startswith("code.")
    ]
    return [*settings, *code]


def _flat(node: Any, parent: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested mapping by dotted key."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{parent}.{key}" if parent else str(key))
    else:
        yield parent, node


@cache
def _versions(packages: frozenset[str]) -> dict[str, str]:
    """The installed version of each package, by the name of its distribution.

    Raises UserError if a package is not installed.
    """
    versions = {}
    for package in sorted(packages):
        name = _distribution(package)
        try:
            versions[name] = version(name)
        except PackageNotFoundError as error:
            raise UserError(f"the package {name} is not installed; run `make setup`.") from error
    return versions


@cache
def _distribution(package: str) -> str:
    """The name of the distribution that contains a package: scikit-learn for sklearn."""
    try:
        return str(metadata(package)["Name"])
    except PackageNotFoundError:
        return packages_distributions().get(package, [package])[0]


def _put(stage: str, content: Mapping[str, Any]) -> Path:
    """Write a plan file named by the digest of its content, unless it exists; returns its path."""
    # Tables list the models in the study's order, so the plans of these stages keep that order.
    # In the plans of all other stages the order of keys has no meaning, so the keys are sorted.
    ordered = stage in ("summarise", "report", "track", "study")
    text = json.dumps(content, indent=1, sort_keys=not ordered, ensure_ascii=False) + "\n"
    path = plan_file(stage, digest(text))
    if not path.exists():
        write_text(path, text)
    return path


def _description(study: Study) -> dict[str, Any]:
    """The facts about a study that its summary, its report and tracking need."""
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
    """The digests of plans that each result of the cell `name` must store to be current."""
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


def result_paths(
    study: str, cell: str, stages: Mapping[str, Any]
) -> Iterator[tuple[Path, str, str]]:
    """Each result of a cell that stores its plans: path, stage, and option.

    The option is the name of the probe or explainer, and empty for other stages.
    """
    paths = CellPaths(StudyPaths.of(study).folder / cell)
    if "tune" in stages:
        yield paths.tuning, "tune", ""
    yield paths.metrics, "train", ""
    for option in stages["probe"]:
        yield paths.probe(option), "probe", option
    for option in stages["explain"]:
        yield paths.attributions(option), "explain", option


def _touch_plans_of_outdated_results(index: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """If a result stores another plan than today's, make today's plan newer than the result.

    A job that outlives Snakemake's main process leaves a result without a record in .snakemake/.
    Snakemake then compares only times, and would always treat the result as current.
    """
    for cell, stages in index["cells"].items():
        for path, stage, option in result_paths(index["study"]["name"], cell, stages):
            wanted = expected[cell][stage]
            plan = Path((stages[stage][option] if option else stages[stage])["plan"])
            if option:
                wanted = wanted[option]
            if (
                path.exists()
                and plan.stat().st_mtime <= path.stat().st_mtime
                and plans_of(path) != wanted
            ):
                os.utime(plan)


def _wants_gpu(study: Study) -> bool:
    return any(config.trainer["devices"] != "cpu" for config in study.cells.values())


def receipt_of(uri: str) -> str:
    """The file name, without suffix, of the receipt for a tracking URI; without its password."""
    without_password = re.sub(r"(?<=://)([^/@:]*):[^@/]*@", r"\1@", uri)
    return re.sub(r"[^\w.-]+", "_", without_password).strip("_")


def start(index: Path) -> None:
    """Note that the study now runs with this index. A dry run writes no such note."""
    planned = read_json(index)
    study = StudyPaths.of(planned["study"]["name"])
    for cell, stages in planned["cells"].items():
        for stage in {"tune", "train"} & set(stages):
            run_store.set_wanted(study.folder / cell, _digest(stages[stage]), stage)
    write_text(study.index_note, f"{index}\n")


def started_indices() -> dict[str, Path]:
    """By study: the index with which the study was last started. Deleted indices are left out."""
    indices = {
        path.parent.name: Path(path.read_text(encoding="utf-8").strip()) for path in index_notes()
    }
    return {study: index for study, index in indices.items() if index.exists()}


def _check_layout() -> None:
    """Raise UserError if another version of lookback wrote results/."""
    if not LAYOUT.exists():
        write_json(LAYOUT, {"layout": LAYOUT_VERSION})
    layout = read_json(LAYOUT).get("layout")
    if layout != LAYOUT_VERSION:
        raise UserError(
            f"another version of lookback wrote results/ (layout {layout}; this version needs "
            f"layout {LAYOUT_VERSION}).\nMove results/ away, or use the other version."
        )
