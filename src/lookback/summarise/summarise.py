"""Stage `summarise` writes tables of results, intervals, costs and missing results of all models.

The stage summarises the results that exist, even if others are missing. A result counts as missing
if its settings or its code have changed since it was computed. Equal results give byte-equal
tables, except for the table `cost`, which holds measured times.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lookback.storage.atomic import read_json, write_json
from lookback.storage.contents import contents_of
from lookback.storage.provenance import plans_of
from lookback.storage.study_paths import StudyPaths, contents_note, summary_table
from lookback.storage.tables import read_parquet, write_parquet
from lookback.summarise.cells import CellResults, Hole, Row, cells_of
from lookback.summarise.controls import COLUMNS as CONTROLS
from lookback.summarise.controls import beside_controls
from lookback.summarise.crossed_intervals import answer_table, compare, crossed_interval
from lookback.summarise.explainer_scores import MEANS, scores
from lookback.summarise.memory_tables import memory
from lookback.summarise.seed_intervals import Better, Numbers, interval
from lookback.summarise.trust_horizon import COLUMNS as HORIZONS
from lookback.summarise.trust_horizon import trust_horizons
from lookback.summarise.validity import lack

Columns = dict[str, str]  # maps the name of a column to its pandas type

CELL: Columns = {"task": "str", "model": "str"}
SPREAD: Columns = {"mean": "float64", "low": "float64", "high": "float64"}
RESULTS: Columns = (
    CELL
    | {"metric": "str", "better": "str"}
    | SPREAD
    | {"iqm": "float64", "iqm_low": "float64", "iqm_high": "float64"}
    | {"seeds": "int64", "parameters": "Int64", "hidden_size": "Int64"}
    | {"baseline": "float64", "baseline_name": "str", "other_baselines": "str"}
    | {"chance": "float64", "optimum": "float64"}
    | {"best": "bool", "close": "str", "skilled": "bool", "reason": "str"}
)
RUNS: Columns = CELL | {"seed": "int64", "metric": "str", "value": "float64"}
METRICS: Columns = CELL | {"metric": "str"} | SPREAD | {"seeds": "int64"}
HISTORY: Columns = CELL | {"seed": "int64", "step": "int64", "split": "str"}
HISTORY |= {"metric": "str", "value": "float64"}
SCORES: Columns = CELL | {"explainer": "str", "score": "str"} | SPREAD
SCORES |= {"best": "bool"} | dict.fromkeys(MEANS, "float64")
SCORES |= {"seeds": "int64", "reason": "str"}
COST: Columns = CELL | {"seed": "int64", "train_seconds": "float64", "evaluate_seconds": "float64"}
COST |= {"device": "str", "threads": "Int64"}
COST |= {"commit": "str", "dirty": "boolean", "versions": "str"}
TUNING: Columns = CELL | {"trial": "int64", "values": "str", "metric": "str", "score": "float64"}
TUNING |= {"parameters": "Int64", "steps": "Int64", "seeds": "int64", "pruned": "bool"}
TUNING |= {"chosen": "bool", "reason": "str"}
MISSING: Columns = CELL | {"what": "str", "reason": "str"}
AT_BASELINE = 0.05  # share of the baseline by which a mean score must be better


def main(plan: Path, out: Path) -> None:
    """Write the summary tables of the study in the plan file `plan` to the folder `out`.

    The folder `out` lies beside the folders of the study's tasks.
    """
    document = read_json(plan)
    cells = list(cells_of(document, StudyPaths(out.parent)))
    missing: list[Row] = []
    tables = {
        "results": results(cells, missing),
        "runs": runs(cells),
        "metrics": metrics(cells),
        "history": history(cells),
        "cost": cost(cells),
        "tuning": tuning(cells, missing),
    }
    probes = {name: measurements(cells, name, missing) for name in document["study"]["probes"]}
    tables |= {f"probe_{name}": frame for name, frame in probes.items()}
    tables |= memory(tables["results"], probes)
    explainers = document["study"]["explainers"]
    skilled = tables["results"].set_index(["task", "model"])["skilled"]
    tables["scores"] = table(list(scores(cells, explainers, skilled, missing)), SCORES)
    tables["controls"] = table(list(beside_controls(tables["scores"])), CONTROLS)
    if trust := list(trust_horizons(cells, explainers, tables["results"])):
        tables["trust_horizon"] = table(trust, HORIZONS)
    tables["missing"] = table(missing, MISSING)
    for name, frame in tables.items():
        write_parquet(summary_table(out, name), frame, {"summarise": plan.stem})
    for old in out.glob("*.parquet"):
        if old.stem not in tables:
            old.unlink()
    files = contents_of(out, [summary_table(out, name) for name in tables])
    note = {"plans": {"summarise": plan.stem}, "files": files, "lacked": lacked(cells)}
    write_json(contents_note(out), note)


def table(rows: list[Row], columns: Columns) -> pd.DataFrame:
    """A DataFrame of `rows` with the given columns and types, even if there are no rows."""
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def lacked(cells: Iterable[CellResults]) -> dict[str, dict[str, str]]:
    """The results that are missing or outdated, each with the digests of its plans.

    The summary is outdated as soon as one of these results has other digests.
    """
    expected = {path: plans for cell in cells for path, plans in cell.results()}
    named = {path: plans_of(path) for path in expected}
    return {path.as_posix(): named[path] for path in expected if named[path] != expected[path]}


def results(cells: list[CellResults], missing: list[Row]) -> pd.DataFrame:
    """The table of test results, with a row for each model on each task, even without a result.

    Missing results are appended to `missing`.
    """
    rows, tables = [], {}
    for cell in cells:
        row, holes = result(cell)
        rows.append(row)
        missing += [cell.name | hole._asdict() for hole in holes]
        if row["seeds"]:
            answers = cell.answers(row["metric"])
            columns = (answers[name] for name in ("value", "seed", "sequence"))
            tables[cell.task, cell.model] = answer_table(*columns)
            row |= means(tables[cell.task, cell.model], row["metric"])
            row["skilled"] = beats_baseline(row)
    for task in dict.fromkeys(cell.task for cell in cells):
        of_task = [row for row in rows if row["task"] == task and row["seeds"]]
        mark_best(of_task, {row["model"]: tables[task, row["model"]] for row in of_task}, cells)
    return table(rows, RESULTS)


def mark_best(rows: list[Row], tables: Mapping[str, Numbers], cells: list[CellResults]) -> None:
    """Set `best` to True for the model that is clearly better than each other model of the task.

    The row of the model with the best mean lists the models in `close` that are not clearly worse.
    A model with fewer trained seeds than the study has cannot be best, because its mean leaves out
    the seeds that failed.
    """
    if len(rows) < 2:
        return
    leader, close = compare(tables, rows[0]["metric"], rows[0]["better"])
    row = next(row for row in rows if row["model"] == leader)
    row["close"] = ", ".join(close)
    row["best"] = not close and row["seeds"] == len(cells[0].seeds)


def beats_baseline(row: Mapping[str, Any]) -> bool:
    """Whether a row of the table `results` is better than the trivial baseline.

    The mean must be better by more than 5 % of the baseline, and the interval must exclude the
    baseline.
    """
    sign = 1 if row["better"] == "higher" else -1
    clear = sign * (row["mean"] - row["baseline"]) > AT_BASELINE * abs(row["baseline"])
    inside = row["low"] <= row["baseline"] <= row["high"]
    return bool(clear and not inside)


def result(cell: CellResults) -> tuple[Row, list[Hole]]:
    """The row of one model on one task in the table `results`, and a list of missing results.

    The row has no mean and no interval.
    """
    facts, holes = task_facts(cell)
    unknown = dict.fromkeys(("mean", "low", "high", "iqm", "iqm_low", "iqm_high"), math.nan)
    verdict = {"seeds": 0, "best": False, "close": "", "skilled": False}
    size = {"parameters": None, "hidden_size": None}
    row = cell.name | facts | unknown | verdict | size | {"reason": cell.untrained}
    if cell.untrained:
        return row, [*holes, Hole("train", cell.untrained)]
    metrics = read_json(cell.paths.metrics)
    seeds = by_seed(cell, cell.paths.metrics)
    holes += [Hole(f"train seed {seed}", why) for seed, why in cell.absent(seeds).items()]
    row |= {"metric": metrics["metric"], "better": better_of(metrics["metric"])}
    size = {"parameters": metrics["parameters"], "hidden_size": metrics.get("hidden_size")}
    return row | {"seeds": len(seeds), **size}, holes


def means(answers: Numbers, metric: str) -> Row:
    """The mean and the interquartile mean over seeds, with their 95 % intervals.

    `answers` is a table (seed, sequence). The interquartile mean leaves out a quarter of the seeds
    at each end, rounded down, as the package rliable does [agarwal2021].
    """
    mean, low, high = crossed_interval(answers, metric)
    iqm, iqm_low, iqm_high = crossed_interval(answers, metric, cut=len(answers) // 4)
    row = {"mean": mean, "low": low, "high": high}
    return row | {"iqm": iqm, "iqm_low": iqm_low, "iqm_high": iqm_high}


def task_facts(cell: CellResults) -> tuple[Row, list[Hole]]:
    """The metric, baselines, chance level and best possible score of a task, from task.json.

    `other_baselines` is a JSON object of the weaker baselines, from name to score.

    The second return value is a list of missing results.
    """
    expected = cell.expected["train"]
    upstream = {stage: expected[stage] for stage in ("download", "prepare") if stage in expected}
    task = cell.paths.task
    if reason := lack(task.facts, upstream, task.log):
        unknown = dict.fromkeys(("baseline", "chance", "optimum"), math.nan)
        names = dict.fromkeys(("metric", "better", "baseline_name"), "")
        return {**names, **unknown, "other_baselines": "{}"}, [Hole("prepare", reason)]
    facts = read_json(task.facts)
    return {
        "metric": facts["metric"],
        "better": better_of(facts["metric"]),
        "baseline": facts["baseline"],
        "baseline_name": facts["baseline_name"],
        "other_baselines": json.dumps(facts.get("other_baselines", {})),
        "chance": 1 / facts["outputs"] if facts["kind"] == "class" else math.nan,
        "optimum": facts.get("optimum"),
    }, []


def better_of(metric: str) -> Better:
    """Whether a higher or a lower value of the metric is better."""
    return "higher" if metric == "accuracy" else "lower"


def by_seed(cell: CellResults, path: Path) -> dict[int, Any]:
    """The entries of the JSON file `path` for the seeds of the study, ordered by seed."""
    entries = {int(seed): value for seed, value in read_json(path)["seeds"].items()}
    return {seed: entries[seed] for seed in sorted(entries) if seed in cell.seeds}


def runs(cells: list[CellResults]) -> pd.DataFrame:
    """All metrics of all runs, with one row per task, model, seed and metric."""
    rows = [
        cell.name | {"seed": seed, "metric": metric, "value": value}
        for cell in cells
        if not cell.untrained
        for seed, values in by_seed(cell, cell.paths.metrics).items()
        for metric, value in values.items()
    ]
    return table(rows, RUNS)


def metrics(cells: list[CellResults]) -> pd.DataFrame:
    """The means over seeds of all test scores but the loss, with their intervals.

    Unlike those of the table `results`, the intervals are over seeds alone, because a score such as
    macro F1 is not a mean over test sequences.
    """
    rows: list[Row] = []
    for cell in cells:
        of_seeds = {} if cell.untrained else by_seed(cell, cell.paths.metrics)
        names = dict.fromkeys(name for scored in of_seeds.values() for name in scored)
        for name in names:
            split, _, metric = name.partition("/")
            if split != "test" or metric == "loss":
                continue
            values = [scored[name] for scored in of_seeds.values() if scored.get(name) is not None]
            spread = interval(values)._asdict()
            rows.append(cell.name | {"metric": metric} | spread | {"seeds": len(values)})
    return table(rows, METRICS)


def history(cells: list[CellResults]) -> pd.DataFrame:
    """The learning curves of all runs."""
    trained = (cell for cell in cells if not cell.untrained)
    frames = (cell.rows_of_study(read_parquet(cell.paths.history)) for cell in trained)
    return concatenated(frames, HISTORY)


def cost(cells: list[CellResults]) -> pd.DataFrame:
    """The time, the device, the code version and the library versions of each training run."""
    rows = [
        cell.name | spent | {"seed": seed, "versions": json.dumps(spent["versions"])}
        for cell in cells
        if not cell.lack(cell.paths.cost, cell.expected["train"], "train")
        for seed, spent in by_seed(cell, cell.paths.cost).items()
    ]
    return table(rows, COST)


def tuning(cells: list[CellResults], missing: list[Row]) -> pd.DataFrame:
    """All trials of all tuned models, with the tried settings as JSON.

    Missing tunings are appended to `missing`.
    """
    rows: list[Row] = []
    for cell in cells:
        if "tune" not in cell.expected:
            continue
        if reason := cell.lack(cell.paths.tuning, cell.expected["tune"], "tune"):
            missing.append(cell.name | Hole("tune", reason)._asdict())
            continue
        tuned = read_json(cell.paths.tuning)
        for number, trial in enumerate(tuned["trials"]):
            shown = {name: trial[name] for name in ("score", "parameters", "steps", "pruned")}
            shown |= {"seeds": len(trial["scores"])}
            shown |= {"values": json.dumps(trial["values"]), "reason": trial["failed"]}
            row = {"trial": number, "metric": tuned["metric"], "chosen": number == tuned["best"]}
            rows.append(cell.name | row | shown)
    return table(rows, TUNING)


def measurements(cells: list[CellResults], probe: str, missing: list[Row]) -> pd.DataFrame:
    """The measurements of one probe for all models on all tasks.

    Missing measurements are appended to `missing`.
    """
    frames = []
    for cell in cells:
        frame, holes = cell.measured("probe", probe, cell.paths.probe(probe))
        missing += [cell.name | hole._asdict() for hole in holes]
        if frame is not None:
            frames.append(frame)
    return concatenated(frames, CELL | {"seed": "int64"})


def concatenated(frames: Iterable[pd.DataFrame], columns: Columns) -> pd.DataFrame:
    """The concatenated frames, or an empty table with the given columns if there are no frames."""
    parts = list(frames)
    return pd.concat(parts, ignore_index=True) if parts else table([], columns)
