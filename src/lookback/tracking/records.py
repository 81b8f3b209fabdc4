"""What MLflow is told of a study, read from its files: one record a cell, one a seed.

Times are milliseconds since 1970, as MLflow counts them. A point of a learning curve has the time
that the journal gives it, so that it is the same point however often it is read. Imports neither
MLflow nor torch.
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
from lookback.storage.paths import SeedPaths, StudyPaths, plan_file
from lookback.storage.tables import read_parquet
from lookback.summarise.cells import CellResults, cells_of
from lookback.tracking.project import identity


@dataclass(frozen=True)
class Point:
    """One value of a metric."""

    name: str  # split/metric: «train/loss», «test/accuracy»
    step: int
    value: float
    time: int


@dataclass(frozen=True)
class Record:
    """One run of MLflow: a cell, or one of its seeds."""

    tags: Mapping[str, str]  # project, study, cell, plan and, of a seed, seed: what it is known by
    start: int | None = None
    end: int | None = None
    missing: str = ""  # what the study expects and is not there
    notes: Mapping[str, str] = field(default_factory=dict)  # tags that are known once it is trained
    params: Mapping[str, str] = field(default_factory=dict)
    curves: tuple[Point, ...] = ()  # each (name, step) stands once
    results: tuple[Point, ...] = ()  # of each name the latest counts
    files: Mapping[str, Path] = field(default_factory=dict)  # by their path among the artifacts
    model: Mapping[str, Path] = field(default_factory=dict)  # what a predictor is made of


Family = tuple[Record, list[Record]]  # a cell, and those of its seeds of which anything is there


# Of the memory card, what the pages of MLflow compare.
ON_CARD = (
    *("horizon", "horizon_low", "horizon_high", "horizon_censored", "lyapunov", "capacity"),
    *("half_distance_initial", "half_distance_trained", "decoding", "context", "timescale"),
)


def finished(document: Mapping[str, Any]) -> Iterator[Family]:
    """All that is there of the study of a plan."""
    study = document["study"]
    names = [*study["tasks"], *study["models"]]
    paths = StudyPaths.of(study["name"])
    for cell, (parent, begun) in zip(cells_of_study(document), started(document), strict=True):
        if cell.untrained:
            seeds = [replace(seed, missing=cell.untrained) for seed in begun]
            yield replace(parent, missing=f"train: {cell.untrained}"), seeds
            continue
        seeds = _trained(cell, parent, {seed.tags["seed"]: seed for seed in begun})
        measured, holes = _measured(cell)
        tuned = _tuned(cell)
        whole = replace(
            parent,
            start=min((seed.start for seed in seeds if seed.start is not None), default=None),
            end=max((seed.end for seed in seeds if seed.end is not None), default=None),
            missing="; ".join([f"seed {s}: {why}" for s, why in _absent(cell).items()] + holes),
            notes=_commit(_of_seeds(cell, cell.paths.cost).values()),
            params={**_params(cell.paths.config), **tuned},
            results=tuple(_summary(paths.summary, cell)),
            files={**measured, **_figures(paths.figures, cell, names)},
        )
        yield whole, seeds


def started(document: Mapping[str, Any]) -> Iterator[Family]:
    """What the journals say: the learning curves, also of seeds still in training."""
    for cell in cells_of_study(document):
        tags = _tags(document["study"]["name"], cell)
        seeds = [
            _begun(tags, seed, entries)
            for seed, path in journals(cell).items()
            if (entries := list(journal.read(path)))
        ]
        starts = [seed.start for seed in seeds if seed.start is not None]
        yield Record(tags, start=min(starts, default=None)), seeds


def cells_of_study(document: Mapping[str, Any]) -> list[CellResults]:
    """The cells of the study of a plan."""
    return list(cells_of(document, StudyPaths.of(document["study"]["name"])))


def journals(cell: CellResults) -> dict[int, Path]:
    """Where the journal of each seed lies, or will; none before the task is prepared and tuned."""
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
    named = {"project": identity(), "study": study, "task": cell.task, "model": cell.model}
    return {**named, "cell": f"{cell.task}/{cell.model}", "plan": plan.stem, "code": code}


def _begun(tags: Mapping[str, str], seed: int, entries: list[dict[str, Any]]) -> Record:
    """A seed as its journal tells it."""
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


def _trained(cell: CellResults, parent: Record, begun: Mapping[str, Record]) -> list[Record]:
    """The seeds of a cell that was trained; one without a result keeps its curve and says why."""
    metrics, costs = _of_seeds(cell, cell.paths.metrics), _of_seeds(cell, cell.paths.cost)
    parameters = read_json(cell.paths.metrics)["parameters"]
    time = _modified(cell.paths.metrics)
    history = read_parquet(cell.paths.history)
    params, absent = _params(cell.paths.config), _absent(cell)
    records = []
    for seed in sorted(cell.seeds):
        record = begun.get(str(seed)) or Record({**parent.tags, "seed": str(seed)}, time, time)
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
        elif str(seed) in begun or seed in cell.failed:
            record = replace(record, missing=absent[seed])
        else:
            continue
        records.append(record)
    return records


def _of_seeds(cell: CellResults, path: Path) -> dict[int, dict[str, Any]]:
    """What a file of the cell says of the seeds that the study asks for."""
    said = read_json(path)["seeds"]
    return {seed: said[str(seed)] for seed in sorted(cell.seeds) if str(seed) in said}


def _absent(cell: CellResults) -> dict[int, str]:
    return cell.absent(_of_seeds(cell, cell.paths.metrics))


def _final(scores: Mapping[str, float | None]) -> dict[str, float | None]:
    """A seed's last numbers; what was best on validation apart from the curve of the same name."""
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
    """The commits that trained; a job run by hand knows none."""
    known = [cost for cost in costs if cost["commit"] is not None]
    commits = " ".join(sorted({cost["commit"] for cost in known}))
    dirty = json.dumps(any(cost["dirty"] for cost in known))
    names = {"commit": commits, "dirty": dirty, "mlflow.source.git.commit": commits}
    return names if known else {}


def _params(config: Path) -> dict[str, str]:
    """The config as trained, flattened: «recipe.optimizer.lr» → «0.003»."""
    said = yaml.safe_load(config.read_text(encoding="utf-8"))
    sections = ("task", "model", "recipe", "trainer")
    return {name: text for part in sections for name, text in _flat(said[part], part)}


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}")
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)


def _measured(cell: CellResults) -> tuple[dict[str, Path], list[str]]:
    """The cell's own files that count, by their path in it, and what is missing of them."""
    paths = cell.paths
    own = [paths.config, paths.metrics, paths.cost]
    own += [paths.tuning] if "tune" in cell.expected else []
    holes = []
    for stage, path_of in (("probe", paths.probe), ("explain", paths.scores)):
        for name, plans in cell.expected[stage].items():
            reason = cell.lack(path_of(name), plans, f"{stage}-{name}")
            if reason:
                holes.append(f"{stage} {name}: {reason}")
            else:
                own.append(path_of(name))
    files = {path.relative_to(paths.folder).as_posix(): path for path in own}
    return files, holes


def _tuned(cell: CellResults) -> dict[str, str]:
    """How a cell was tuned; what was chosen stands among its params, each trial in tune.json."""
    if "tune" not in cell.expected:
        return {}
    said = read_json(cell.paths.tuning)
    keys = " ".join(sorted(said["chosen"]))
    lost = sum(trial["score"] is None for trial in said["trials"])
    best = said["trials"][said["best"]]["score"]
    counts = {"tune.trials": len(said["trials"]), "tune.diverged": lost, "tune.score": best}
    return {"tune.keys": keys, **{name: json.dumps(it) for name, it in counts.items()}}


def _summary(summary: Path, cell: CellResults) -> Iterator[Point]:
    """Means with their intervals as the report shows them, if it shows this cell as it is now."""
    if not _is_of(summary / "runs.parquet", cell):
        return
    time = _modified(summary / "results.parquet")
    for row in _rows(summary / "results.parquet", cell):
        yield from _spread(f"test/{row['metric']}", row, time)
        yield from _results({name: row[name] for name in ("parameters", "baseline")}, time)
    for row in _rows(summary / "scores.parquet", cell):
        yield from _spread(f"explain/{row['explainer']}/{row['score']}", row, time)
    if (card := summary / "memory_card.parquet").exists():
        for row in _rows(card, cell):
            yield from _results({f"memory/{name}": row[name] for name in ON_CARD}, time)


def _is_of(runs: Path, cell: CellResults) -> bool:
    """Whether the summary was made of the cell's numbers, not of older ones."""
    if not runs.exists():
        return False
    shown = {(row["seed"], row["metric"]): row["value"] for row in _rows(runs, cell)}
    there = {
        (seed, metric): math.nan if value is None else float(value)
        for seed, scores in _of_seeds(cell, cell.paths.metrics).items()
        for metric, value in scores.items()
    }
    return pd.Series(shown, dtype=float).equals(pd.Series(there, dtype=float))


def _rows(table: Path, cell: CellResults) -> list[dict[str, Any]]:
    frame = read_parquet(table)
    own = frame[(frame["task"] == cell.task) & (frame["model"] == cell.model)]
    return [{str(name): value for name, value in row.items()} for row in own.to_dict("records")]


def _spread(name: str, row: Mapping[str, Any], time: int) -> Iterator[Point]:
    values = {name: row["mean"], f"{name}/low": row["low"], f"{name}/high": row["high"]}
    return _results(values, time)


def _figures(folder: Path, cell: CellResults, names: Iterable[str]) -> dict[str, Path]:
    """The report's figures that name no other task or model than the cell's."""
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
