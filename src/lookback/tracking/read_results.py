"""Read the files of a study, and make the records that tracking sends to MLflow.

There is one record for one model on one task, and one more for each seed of the model. All times
are Unix times in milliseconds, as in MLflow. The time of each point of a learning curve comes from
the seed's journal file, so that reading the journal twice gives equal points. This module imports
neither MLflow nor torch.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lookback.storage import journal, run_store
from lookback.storage.atomic import digest, read_json
from lookback.storage.cell_paths import SeedPaths
from lookback.storage.paths import plan_file
from lookback.storage.study_paths import StudyPaths, summary_table
from lookback.storage.tables import read_parquet
from lookback.summarise.cells import CellResults, cells_of
from lookback.summarise.quantities.registry import QUANTITIES
from lookback.tracking.project import identity


@dataclass(frozen=True)
class Point:
    """One value of a metric at one training step."""

    name: str  # data split and metric, such as «train/loss» or «test/accuracy»
    step: int
    value: float
    time: int


@dataclass(frozen=True)
class Record:
    """The content of one MLflow run, for one model on one task or for one of its seeds."""

    # Tags: project, study, task, model, cell, plan and code. A seed's record also has the tag seed.
    tags: Mapping[str, str]
    start: int | None = None
    end: int | None = None
    missing: str = ""  # names of missing results, each with the reason
    notes: Mapping[str, str] = field(default_factory=dict)  # tags that exist only after training
    params: Mapping[str, str] = field(default_factory=dict)
    curves: tuple[Point, ...] = ()  # learning curves, with one point per metric and step
    results: tuple[Point, ...] = ()  # MLflow shows only the latest value of each metric
    files: Mapping[str, Path] = field(default_factory=dict)  # artifact path -> file on disk
    model: Mapping[str, Path] = field(default_factory=dict)  # files that lookback.predictor loads


# The record of a model on a task, and one record for each seed of the model that has data.
Family = tuple[Record, list[Record]]


def result_records(document: Mapping[str, Any]) -> Iterator[Family]:
    """The records that describe a study in MLflow, with all results that exist on disk.

    `document` is the content of the study's plan file.
    """
    study = document["study"]
    names = [*study["tasks"], *study["models"]]
    paths = StudyPaths.of(study["name"])
    families = curve_records(document)
    for cell, (parent, curves) in zip(cells_of_study(document), families, strict=True):
        if cell.untrained:
            seeds = [replace(seed, missing=cell.untrained) for seed in curves]
            yield replace(parent, missing=f"train: {cell.untrained}"), seeds
            continue
        seeds = _trained_seeds(cell, parent, {seed.tags["seed"]: seed for seed in curves})
        files, missing_files = _result_files(cell)
        missing_seeds = [f"seed {seed}: {why}" for seed, why in _missing_seeds(cell).items()]
        tuning = _tuning_params(cell)
        cell_record = replace(
            parent,
            start=min((seed.start for seed in seeds if seed.start is not None), default=None),
            end=max((seed.end for seed in seeds if seed.end is not None), default=None),
            missing="; ".join(missing_seeds + missing_files),
            notes=_commit(_of_seeds(cell, cell.paths.cost).values()),
            params={**_params(cell.paths.config), **tuning},
            results=tuple(summary_points(paths.summary, cell)),
            files={**files, **_figures(paths.figures, cell, names)},
        )
        yield cell_record, seeds


def curve_records(document: Mapping[str, Any]) -> Iterator[Family]:
    """The records that describe a study in MLflow, with the learning curves written so far.

    Seeds whose training is still running are included. `document` is the content of the study's
    plan file.
    """
    for cell in cells_of_study(document):
        tags = _tags(document["study"]["name"], cell)
        seeds = [
            _seed_curves(tags, seed, entries)
            for seed, path in journals(cell).items()
            if (entries := list(journal.read(path)))
        ]
        starts = [seed.start for seed in seeds if seed.start is not None]
        yield Record(tags, start=min(starts, default=None)), seeds


def cells_of_study(document: Mapping[str, Any]) -> list[CellResults]:
    """All cells of a study. `document` is the content of the study's plan file."""
    return list(cells_of(document, StudyPaths.of(document["study"]["name"])))


def journals(cell: CellResults) -> dict[int, Path]:
    """The path of each seed's journal file (training log), even if the file does not exist yet.

    Returns an empty mapping if the task is not prepared yet, or if the study tunes the model and
    the tuning is not finished yet.
    """
    paths = cell.paths
    runs = run_store.runs_folder(_train_plan(cell), paths.task.facts, paths.tuning)
    if runs is None:
        return {}
    return {
        seed: SeedPaths(run_store.seed_folder(runs, seed)).journal for seed in sorted(cell.seeds)
    }


def _train_plan(cell: CellResults) -> Path:
    return plan_file("train", cell.expected["train"]["train"])


def _tags(study: str, cell: CellResults) -> dict[str, str]:
    plan = _train_plan(cell)
    code = digest(json.dumps(read_json(plan)["code"], sort_keys=True))
    names = {"project": identity(), "study": study, "task": cell.task, "model": cell.model}
    return {**names, "cell": f"{cell.task}/{cell.model}", "plan": plan.stem, "code": code}


def _seed_curves(tags: Mapping[str, str], seed: int, entries: list[dict[str, Any]]) -> Record:
    """The record of one seed, with learning curves from the entries of its journal file."""
    curves = {
        (entry["split"], metric, entry["step"]): Point(
            f"{entry['split']}/{metric}", entry["step"], value, _milliseconds(entry["time"])
        )
        for entry in entries
        if "values" in entry
        for metric, value in entry["values"].items()
    }
    return Record(
        {**tags, "seed": str(seed)},
        start=_milliseconds(entries[0]["time"]),
        end=_milliseconds(entries[-1]["time"]),
        curves=tuple(curves.values()),
    )


def _trained_seeds(cell: CellResults, parent: Record, curves: Mapping[str, Record]) -> list[Record]:
    """The records of the seeds of one model on one task, after the training.

    `curves` holds the records with learning curves by seed. The record of a seed without a result
    keeps its learning curve, and the field `missing` gives the reason for the missing result.
    """
    metrics, costs = _of_seeds(cell, cell.paths.metrics), _of_seeds(cell, cell.paths.cost)
    parameters = read_json(cell.paths.metrics)["parameters"]
    time = _modified(cell.paths.metrics)
    history = read_parquet(cell.paths.history)
    params, missing_seeds = _params(cell.paths.config), _missing_seeds(cell)
    records = []
    for seed in sorted(cell.seeds):
        record = curves.get(str(seed)) or Record({**parent.tags, "seed": str(seed)}, time, time)
        if seed in metrics:
            values = {"parameters": parameters, **_final(metrics[seed]), **_seconds(costs[seed])}
            files = {"config.yaml": cell.paths.config}
            record = replace(
                record,
                notes=_commit([costs[seed]]),
                params=params,
                curves=record.curves or tuple(_curves(history[history["seed"] == seed], time)),
                results=tuple(_results(values, time)),
                files=files,
                model={
                    **files,
                    "task.json": cell.paths.task.facts,
                    "weights.ckpt": cell.paths.checkpoint(seed),
                },
            )
        elif str(seed) in curves or seed in cell.failed:
            record = replace(record, missing=missing_seeds[seed])
        else:
            continue
        records.append(record)
    return records


def _of_seeds(cell: CellResults, path: Path) -> dict[int, dict[str, Any]]:
    """The entries of the JSON file `path` for the seeds of the study."""
    entries = read_json(path)["seeds"]
    return {seed: entries[str(seed)] for seed in sorted(cell.seeds) if str(seed) in entries}


def _missing_seeds(cell: CellResults) -> dict[int, str]:
    """Each seed that has no result, with the reason why the result is missing."""
    return cell.absent(_of_seeds(cell, cell.paths.metrics))


def _final(scores: Mapping[str, float | None]) -> dict[str, float | None]:
    """The final scores of a seed, keyed by the metric names in MLflow.

    The name of a validation score gets the prefix `best/`, because the name without a prefix is
    already the name of a learning curve.
    """
    return {
        name if name.startswith("test/") else f"best/{name}": value
        for name, value in scores.items()
        if name != "steps"
    }


def _seconds(cost: Mapping[str, Any]) -> dict[str, float]:
    return {name: cost[name] for name in ("train_seconds", "evaluate_seconds")}


def _results(values: Mapping[str, float | None], time: int) -> Iterator[Point]:
    for name, value in values.items():
        if value is not None and math.isfinite(value):
            yield Point(name, 0, float(value), time)


def _curves(history: pd.DataFrame, time: int) -> Iterator[Point]:
    columns = (history[name] for name in ("step", "split", "metric", "value"))
    for step, split, metric, value in zip(*columns, strict=True):
        yield Point(f"{split}/{metric}", int(step), float(value), time)


def _commit(costs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """MLflow tags with the git commits of the code that trained the networks.

    The result is empty if no git commit was recorded, as for a job that was started by hand.
    """
    known = [cost for cost in costs if cost["commit"] is not None]
    commits = " ".join(sorted({cost["commit"] for cost in known}))
    dirty = json.dumps(any(cost["dirty"] for cost in known))
    tags = {"commit": commits, "dirty": dirty, "mlflow.source.git.commit": commits}
    return tags if known else {}


def _params(config: Path) -> dict[str, str]:
    """The settings in config.yaml, keyed by a dotted name such as «recipe.optimizer.lr»."""
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    sections = ("task", "model", "recipe", "trainer")
    return {name: text for part in sections for name, text in _flat(settings[part], part)}


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}")
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)


def _result_files(cell: CellResults) -> tuple[dict[str, Path], list[str]]:
    """The up-to-date result files of a model, and the missing results of probes and explainers.

    The key of a file is its path relative to the folder with the results of the model. Each missing
    result is a text that names the result and the reason.
    """
    paths = cell.paths
    results = [paths.config, paths.metrics, paths.cost]
    results += [paths.tuning] if "tune" in cell.expected else []
    missing = []
    for stage, path_of in (("probe", paths.probe), ("explain", paths.scores)):
        for name, plans in cell.expected[stage].items():
            reason = cell.lack(path_of(name), plans, f"{stage}-{name}")
            if reason:
                missing.append(f"{stage} {name}: {reason}")
            else:
                results.append(path_of(name))
    files = {path.relative_to(paths.folder).as_posix(): path for path in results}
    return files, missing


def _tuning_params(cell: CellResults) -> dict[str, str]:
    """The MLflow params of a tuning, such as the tuned settings and the best validation score.

    `_params` returns the chosen values, and the artifact tune.json contains every trial.
    """
    if "tune" not in cell.expected:
        return {}
    tuning = read_json(cell.paths.tuning)
    keys = " ".join(sorted(tuning["chosen"]))
    diverged = sum(trial["score"] is None for trial in tuning["trials"])
    best = tuning["trials"][tuning["best"]]["score"]
    numbers = {"tune.trials": len(tuning["trials"]), "tune.diverged": diverged, "tune.score": best}
    numbers["tune.pruned"] = sum(trial["pruned"] for trial in tuning["trials"])
    numbers["tune.seeds"] = len(tuning["seeds"])
    return {"tune.keys": keys, **{name: json.dumps(number) for name, number in numbers.items()}}


def summary_points(summary: Path, cell: CellResults) -> Iterator[Point]:
    """The numbers that the report shows about one model on one task.

    The result is empty if the summary tables were made from older results of the model.
    """
    if not _is_of(summary_table(summary, "runs"), cell):
        return
    time = _modified(summary_table(summary, "results"))
    main = ""
    for row in _rows(summary_table(summary, "results"), cell):
        main = row["metric"]
        yield from _spread(f"test/{row['metric']}", row, time)
        baselines = {row["baseline_name"]: row["baseline"], **json.loads(row["other_baselines"])}
        yield from _results({name: row[name] for name in ("parameters", "baseline")}, time)
        yield from _results({f"baseline/{name}": baselines[name] for name in baselines}, time)
    for row in _rows(summary_table(summary, "metrics"), cell):
        if row["metric"] != main:
            yield from _spread(f"test/{row['metric']}", row, time)
    for row in _rows(summary_table(summary, "scores"), cell):
        yield from _spread(f"explain/{row['explainer']}/{row['score']}", row, time)
    if (card := summary_table(summary, "memory_card")).exists():
        tracked = [name for it in QUANTITIES if it.is_tracked for name in it.columns]
        for row in _rows(card, cell):
            yield from _results({f"memory/{name}": row[name] for name in tracked}, time)


def _is_of(runs: Path, cell: CellResults) -> bool:
    """Whether the summary table `runs` contains the current scores of the model."""
    if not runs.exists():
        return False
    summarised = {(row["seed"], row["metric"]): row["value"] for row in _rows(runs, cell)}
    current = {
        (seed, metric): math.nan if value is None else float(value)
        for seed, scores in _of_seeds(cell, cell.paths.metrics).items()
        for metric, value in scores.items()
    }
    return pd.Series(summarised, dtype=float).equals(pd.Series(current, dtype=float))


def _rows(table: Path, cell: CellResults) -> list[dict[str, Any]]:
    frame = read_parquet(table)
    of_cell = frame[(frame["task"] == cell.task) & (frame["model"] == cell.model)]
    return [{str(name): value for name, value in row.items()} for row in of_cell.to_dict("records")]


def _spread(name: str, row: Mapping[str, Any], time: int) -> Iterator[Point]:
    values = {name: row["mean"], f"{name}/low": row["low"], f"{name}/high": row["high"]}
    return _results(values, time)


def _figures(folder: Path, cell: CellResults, names: Iterable[str]) -> dict[str, Path]:
    """The report's figure files for one model on one task, keyed by the artifact path in MLflow.

    A figure is left out if its file name contains the name of another task or model. `names` holds
    the names of all tasks and models of the study.
    """
    longest_first = sorted(names, key=len, reverse=True)
    word = re.compile("|".join(rf"(?<![a-z0-9]){re.escape(n)}(?![a-z0-9])" for n in longest_first))
    return {
        f"figures/{path.name}": path
        for path in sorted(folder.glob("*.svg"))
        if set(word.findall(path.stem)) <= {cell.task, cell.model}
    }


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _modified(path: Path) -> int:
    return _milliseconds(path.stat().st_mtime)
