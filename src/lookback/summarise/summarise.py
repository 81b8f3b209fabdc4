"""Stage `summarise` writes tables of results, intervals, costs and missing results of all models.

The stage summarises the results that exist, even if others are missing. A result counts as missing
if its settings or its code have changed since it was computed. Equal results give byte-equal
tables, except for the table `cost`, which holds measured times.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lookback.storage.atomic import read_json, write_json
from lookback.storage.contents import contents_of
from lookback.storage.provenance import plans_of
from lookback.storage.study_paths import StudyPaths, contents_note, summary_table
from lookback.storage.tables import read_parquet, write_parquet
from lookback.summarise.cells import CellResults, Hole, Row, cells_of
from lookback.summarise.controls import COLUMNS as CONTROLS
from lookback.summarise.controls import beside_controls
from lookback.summarise.hierarchical_bootstrap import hierarchical, interquartile_mean, mean
from lookback.summarise.memory_card import memory_card
from lookback.summarise.quantities.registry import PROBES
from lookback.summarise.seed_intervals import Better, Interval, interval, winner
from lookback.summarise.theory import failing_lags, theory
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
    | {"best": "bool", "reason": "str"}
)
RUNS: Columns = CELL | {"seed": "int64", "metric": "str", "value": "float64"}
METRICS: Columns = CELL | {"metric": "str"} | SPREAD | {"seeds": "int64"}
HISTORY: Columns = CELL | {"seed": "int64", "step": "int64", "split": "str"}
HISTORY |= {"metric": "str", "value": "float64"}
SCORES: Columns = CELL | {"explainer": "str", "score": "str"} | SPREAD
SCORES |= {"chance": "float64", "seeds": "int64", "reason": "str"}
COST: Columns = CELL | {"seed": "int64", "train_seconds": "float64", "evaluate_seconds": "float64"}
COST |= {"device": "str", "threads": "Int64"}
COST |= {"commit": "str", "dirty": "boolean", "versions": "str"}
TUNING: Columns = CELL | {"trial": "int64", "values": "str", "metric": "str", "score": "float64"}
TUNING |= {"parameters": "Int64", "steps": "Int64", "seeds": "int64", "pruned": "bool"}
TUNING |= {"chosen": "bool", "reason": "str"}
MISSING: Columns = CELL | {"what": "str", "reason": "str"}


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
    tables["scores"] = scores(cells, explainers, missing)
    tables["controls"] = table(list(beside_controls(cells, explainers)), CONTROLS)
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
    rows = []
    for cell in cells:
        row, holes = result(cell)
        rows.append(row)
        missing += [cell.name | hole._asdict() for hole in holes]
    for task in dict.fromkeys(cell.task for cell in cells):
        trained = [row for row in rows if row["task"] == task and row["seeds"]]
        mark_best(trained, len(cells[0].seeds))
    return table(rows, RESULTS)


def mark_best(rows: list[Row], seeds: int) -> None:
    """Set `best` to True for the model whose whole interval is better than all other intervals.

    A model with fewer than `seeds` trained seeds cannot be best, because its mean leaves out the
    seeds that failed.
    """
    spread = {row["model"]: Interval(row["mean"], row["low"], row["high"]) for row in rows}
    best = winner(spread, rows[0]["better"]) if rows else None
    for row in rows:
        row["best"] = row["model"] == best and row["seeds"] == seeds


def result(cell: CellResults) -> tuple[Row, list[Hole]]:
    """The row of one model on one task in the table `results`, and a list of missing results."""
    facts, holes = task_facts(cell)
    unknown = dict.fromkeys(("mean", "low", "high", "iqm", "iqm_low", "iqm_high"), math.nan)
    unknown |= {"seeds": 0}
    size = {"parameters": None, "hidden_size": None}
    row = cell.name | facts | unknown | size | {"best": False, "reason": cell.untrained}
    if cell.untrained:
        return row, [*holes, Hole("train", cell.untrained)]
    metrics = read_json(cell.paths.metrics)
    scored = by_seed(cell, cell.paths.metrics)
    values = {seed: float(each[f"test/{metrics['metric']}"]) for seed, each in scored.items()}
    holes += [Hole(f"train seed {seed}", why) for seed, why in cell.absent(values).items()]
    row |= {"metric": metrics["metric"], "better": better_of(metrics["metric"])}
    row |= means(list(values.values()), cell.answers(metrics["metric"]))
    size = {"parameters": metrics["parameters"], "hidden_size": metrics.get("hidden_size")}
    return row | {"seeds": len(values), **size}, holes


def means(values: list[float], answers: pd.DataFrame) -> Row:
    """The mean and the interquartile mean of one value per seed, with their 95 % intervals.

    The intervals are computed by a hierarchical bootstrap of `answers`.
    """
    value, seed, sequence = (answers[name] for name in ("value", "seed", "sequence"))
    of_mean, of_iqm = hierarchical(value, seed, sequence, mean, interquartile_mean)
    row = {"mean": float(np.mean(values)), "low": of_mean.low, "high": of_mean.high}
    iqm = float(interquartile_mean(values))
    return row | {"iqm": iqm, "iqm_low": of_iqm.low, "iqm_high": of_iqm.high}


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


def memory(results: pd.DataFrame, probes: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The memory card, and the tables that show how well theory predicts the memory horizon.

    No table is returned if the study has no probe that the memory card uses.
    """
    if not PROBES & probes.keys():
        return {}
    card = memory_card(results, probes)
    if "recall_by_lag" not in probes:
        return {"memory_card": card}
    lags = failing_lags(card)
    return {"memory_card": card, "theory": theory(card, lags), "failing_lag": lags}


def concatenated(frames: Iterable[pd.DataFrame], columns: Columns) -> pd.DataFrame:
    """The concatenated frames, or an empty table with the given columns if there are no frames."""
    parts = list(frames)
    return pd.concat(parts, ignore_index=True) if parts else table([], columns)


def scores(cells: list[CellResults], explainers: Iterable[str], missing: list[Row]) -> pd.DataFrame:
    """The scores of all explainers, with one row per task, model, explainer and score.

    If an explainer has no scores for a model on a task, one row says why there are no scores.
    Missing scores are appended to `missing`.
    """
    rows: list[Row] = []
    for cell in cells:
        for explainer in explainers:
            scores_file = cell.paths.scores(explainer)
            frame, holes = cell.measured("explain", explainer, scores_file)
            missing += [cell.name | hole._asdict() for hole in holes]
            if frame is None:
                empty = {"score": "", "seeds": 0, "reason": "; ".join(h.reason for h in holes)}
                rows.append(cell.name | {"explainer": explainer} | empty)
            else:
                rows += [cell.name | {"explainer": explainer} | row for row in spreads(frame)]
    return table(rows, SCORES)


def spreads(frame: pd.DataFrame) -> Iterator[Row]:
    """Yield the mean over seeds, its interval and the chance level of each score."""
    for score, part in frame.groupby("score", sort=False):
        spread = interval(part["value"].to_list())._asdict()
        chance = part["chance"].mean()
        yield {"score": score, **spread, "chance": chance, "seeds": len(part), "reason": ""}
