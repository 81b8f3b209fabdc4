"""The plan of a study: immutable files named by their content, made by the main process alone.

For each stage of each cell there is one file, with what this stage reads and the fingerprint of the
code that it reaches. It is an input of its rule: other content is another path, so Snakemake reruns
exactly then. A result names its plan, so what an edit changed is said by comparing two plans.
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
from lookback.planning import snapshot
from lookback.planning.study import CellConfig, Study
from lookback.runtime.devices import local_gpus
from lookback.storage import run_store
from lookback.storage.atomic import digest, read_json, write_json, write_text
from lookback.storage.paths import LAYOUT, CellPaths, StudyPaths, index_notes, plan_file
from lookback.storage.provenance import plans_of

LAYOUT_VERSION = 1  # of results/; raised when files of another version could be misread
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
# Packages whose release can change a number, or what is drawn, in whatever stage imports them.
COUNTED = {
    *("numpy", "scipy", "pandas", "torch", "pytorch_lightning", "numba", "llvmlite", "optuna"),
    *("captum", "sklearn", "matplotlib", "jinja2", "mlflow"),
}
Stage = dict[str, str]  # {"plan": path}


def make(root: Path, study: Study) -> Path:
    """Write all plans of `study`, of the project at `root`, and the index that names them.

    Raises UserError where results/ was laid out by another version.
    """
    _check_layout()
    home = snapshot.take(root)
    planner = _Planner(snapshot.fingerprints(home))
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
        "study": _described(study),
        "cells": {name: _expected(name, datasets, tasks, cell) for name, cell in cells.items()},
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
        "gpus": int(
            _wants_gpu(study) and bool(local_gpus())
        ),  # of a job here; a cluster's profile says its own
    }
    _touch_what_is_outdated(index, body["cells"])
    return _put("study", index)


class _Planner:
    def __init__(self, code: snapshot.Fingerprints):
        self.code = code

    def stage(self, name: str, **body: Any) -> Stage:
        """One plan file."""
        roots = [STAGE_MODULES[name], *_targets(body)]
        if name == "report":  # finds a probe's figure by its name, so nothing imports it
            figures = (f"lookback.report.figures.{probe}" for probe in body["study"]["probes"])
            roots += [figure for figure in figures if figure in self.code.hashes]
        code = self.code.of(roots)
        packages = (self.code.packages(code) & COUNTED) | set(_foreign_targets(body))
        libraries = {"python": platform.python_version(), **_versions(frozenset(packages))}
        plan = {"stage": name, **body, "code": code, "libraries": libraries}
        return {"plan": str(_put(name, plan))}

    def download(self, dataset: Mapping[str, Any]) -> Stage:
        """Named without the mirrors, which the plan is told then, without becoming newer."""
        planned = self.stage("download", dataset=_verified(dataset))
        path = Path(planned["plan"])
        plan, times = read_json(path), path.stat()
        if plan["dataset"] != dataset:
            write_json(path, {**plan, "dataset": dataset})
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        return planned

    def cell(self, study: Study, config: CellConfig) -> dict[str, Any]:
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
    """The task, its data without their mirrors."""
    task = dict(config.task)
    if "dataset" in task:
        task["dataset"] = _verified(task["dataset"])
    return task


def _verified(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset without its mirrors: from where verified content came changes nothing."""
    return {key: it for key, it in dataset.items() if key != "mirrors"}


def _targets_of(config: CellConfig) -> dict[str, Any]:
    """The code of model and task, which a measurement builds again; settings come by training."""
    return {
        "model": {"_target_": sorted(set(_targets(config.model)))},
        "task": {"_target_": sorted(set(_targets(config.task)))},
    }


def _targets(node: Any) -> Iterator[str]:
    """The module of each `_target_` inside the package."""
    return (it for it in _modules(node) if it.partition(".")[0] == snapshot.PACKAGE)


def _foreign_targets(node: Any) -> Iterator[str]:
    """The package of each `_target_` outside ours: «torch» of torch.optim.AdamW."""
    tops = (it.partition(".")[0] for it in _modules(node))
    return (it for it in tops if it != snapshot.PACKAGE and it not in sys.stdlib_module_names)


def _modules(node: Any) -> Iterator[str]:
    """The module of each `_target_`; a list there holds modules already."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            said = node["_target_"]
            yield from [said.rpartition(".")[0]] if isinstance(said, str) else said
        for value in node.values():
            yield from _modules(value)
    elif isinstance(node, list):
        for value in node:
            yield from _modules(value)


def differences(stage: str, before: str, now: str) -> list[str]:
    """What two plans of a stage, named by their digests, differ in; empty where one is gone.

    «model.layers 1 → 2», «code of lookback.models.gru».
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


def _flat(node: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{at}.{key}" if at else str(key))
    else:
        yield at, node


@cache
def _versions(packages: frozenset[str]) -> dict[str, str]:
    """The version of the distribution that brings each package, by the distribution's name."""
    found = {}
    for package in sorted(packages):
        name = _distribution(package)
        try:
            found[name] = version(name)
        except PackageNotFoundError as error:
            raise UserError(
                f"the package {name} is not installed here; run `make setup`."
            ) from error
    return found


@cache
def _distribution(package: str) -> str:
    """The name under which a package is installed: scikit-learn for sklearn."""
    try:
        return str(metadata(package)["Name"])
    except PackageNotFoundError:
        return packages_distributions().get(package, [package])[0]


def _put(stage: str, content: Mapping[str, Any]) -> Path:
    # A table keeps the order in which a study names its models; in a config order means nothing.
    ordered = stage in ("summarise", "report", "track", "study")
    text = json.dumps(content, indent=1, sort_keys=not ordered, ensure_ascii=False) + "\n"
    path = plan_file(stage, digest(text))
    if not path.exists():
        write_text(path, text)
    return path


def _described(study: Study) -> dict[str, Any]:
    """What summary, report and tracking know of a study."""
    tasks = {task: _task(config) for (task, _), config in study.cells.items()}
    models = {model: config.model for (_, model), config in study.cells.items()}
    apart = ("cells", "tracking", "match")
    said = {key: it for key, it in asdict(study).items() if key not in apart}
    trained = {
        f"{task}/{model}": {"recipe": config.recipe, "trainer": config.trainer}
        for (task, model), config in study.cells.items()
    }
    return {**said, "tasks": tasks, "models": models, "trained": trained, "matched": study.match}


def _expected(
    name: str, datasets: Mapping[str, Stage], tasks: Mapping[str, Any], cell: Mapping[str, Any]
) -> dict[str, Any]:
    """The plans that each result of a cell must name to count as current."""
    task = tasks[name.partition("/")[0]]
    before = {"prepare": _digest(task["prepare"])}
    if task["dataset"]:
        before["download"] = _digest(datasets[task["dataset"]])
    tuned = {"tune": _digest(cell["tune"])} if "tune" in cell else {}
    plans = {**before, **tuned, "train": _digest(cell["train"])}
    measured = {
        stage: {option: {**plans, stage: _digest(it)} for option, it in cell[stage].items()}
        for stage in ("probe", "explain")
    }
    return {**({"tune": before | tuned} if tuned else {}), "train": plans, **measured}


def _digest(stage: Stage) -> str:
    return Path(stage["plan"]).stem


def result_paths(
    study: str, cell: str, stages: Mapping[str, Any]
) -> Iterator[tuple[Path, str, str]]:
    """Each result of a cell that names plans: its path, stage, and option, empty where none is."""
    paths = CellPaths(StudyPaths.of(study).folder / cell)
    if "tune" in stages:
        yield paths.tuning, "tune", ""
    yield paths.metrics, "train", ""
    for option in stages["probe"]:
        yield paths.probe(option), "probe", option
    for option in stages["explain"]:
        yield paths.attributions(option), "explain", option


def _touch_what_is_outdated(index: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Make a plan newer than a result that names another.

    A job that outlives its main process leaves a result without a record in Snakemake, which knows
    only times then, and would take that result for current for ever.
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
    """The file name, without its ending, of tracking's receipt for a URI."""
    without_password = re.sub(r"(?<=://)([^/@:]*):[^@/]*@", r"\1@", uri)
    return re.sub(r"[^\w.-]+", "_", without_password).strip("_")


def start(index: Path) -> None:
    """Say that the study of `index` is run by it from now on: a dry run does not say so."""
    planned = read_json(index)
    study = StudyPaths.of(planned["study"]["name"])
    for cell, stages in planned["cells"].items():
        for stage in {"tune", "train"} & set(stages):
            run_store.set_wanted(study.folder / cell, _digest(stages[stage]), stage)
    write_text(study.index_note, f"{index}\n")


def started_indices() -> dict[str, Path]:
    """The index that each study here was last started by, by the study's name."""
    found = {
        path.parent.name: Path(path.read_text(encoding="utf-8").strip()) for path in index_notes()
    }
    return {name: index for name, index in found.items() if index.exists()}


def _check_layout() -> None:
    if not LAYOUT.exists():
        write_json(LAYOUT, {"layout": LAYOUT_VERSION})
    found = read_json(LAYOUT).get("layout")
    if found != LAYOUT_VERSION:
        raise UserError(
            f"results/ is of another version of lookback (layout {found}, here {LAYOUT_VERSION}).\n"
            "Move it away, or use that version."
        )
