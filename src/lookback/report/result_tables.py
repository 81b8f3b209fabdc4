"""The tables of the report: as they are shown, in few digits, and as CSV, in all of them."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from lookback.report.inputs import ReportInputs
from lookback.report.receipts import Receipt

NONE = "–"
COMPUTE = {
    "flops": "{:g} floating-point operations",
    "seconds": "{:g} seconds of steps as measured once, so it is outside the claim of equal reruns",
}
SCORES = {
    "evidence_auc": "Does the attribution find the evidence? Area under the ROC curve.",
    "deletion": "Does the answer change without the steps that the attribution ranks highest?",
}


@dataclass(frozen=True)
class Row:
    """The cells of one line, and its kind: "best", "weak", "missing", "reference" or "".

    Where there are fewer cells than columns, the last reaches to the end.
    """

    cells: list[str]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table as shown; `frame` is the same in full."""

    name: str
    title: str
    head: list[str]
    rows: list[Row]
    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def number(value: float, metric: str = "") -> str:
    """A metric in sensible digits: four decimals of an accuracy, else three digits."""
    if pd.isna(value):
        return NONE
    return f"{value:.4f}" if metric == "accuracy" else f"{value:#.3g}".rstrip(".")


def interval(low: float, high: float, metric: str = "") -> str:
    """An interval in sensible digits; a dash where it is not known."""
    return NONE if pd.isna(low) else f"{number(low, metric)} to {number(high, metric)}"


def results_table(material: ReportInputs, task: str, receipts: Sequence[Receipt]) -> Table:
    """What every model reached on a task, beside what `references` has."""
    own = material.results[material.results["task"] == task]
    spent = material.cost[material.cost["task"] == task].groupby("model", observed=True)
    frame = own.assign(row="model", train_seconds=own["model"].map(spent["train_seconds"].mean()))
    for receipt in receipts:
        frame[receipt.title] = [receipt.run(task, model) for model in own["model"]]
    frame = pd.concat([frame, references(material, task, own)], ignore_index=True)
    titles = [
        "model",
        f"{own['metric'].max() or 'metric'} (test)",
        "95 % interval",
        *(["interquartile mean"] if _has_middle(material) else []),
        "seeds",
        "parameters",
        "hidden size",
        "train s/seed",
    ]
    return Table(
        name=f"results_{task}",
        title=task,
        head=[*titles, *("MLflow run" for _ in receipts)],
        rows=[_result(row, material, receipts) for row in frame.to_dict("records")],
        frame=frame,
        notes=[*lost_seeds(material, task), *_notes(material, receipts), *lengths(material, task)],
    )


def references(material: ReportInputs, task: str, own: pd.DataFrame) -> pd.DataFrame:
    """What stands beside the models: trivial baseline, chance, optimum, published figures."""
    first, metric = own.iloc[0], own["metric"].max()
    name = first["baseline_name"] or "unknown: the task is missing"
    if first["baseline_name"] and pd.isna(first["chance"]):
        name += "; a value has no chance level"
    rows = [("trivial baseline", metric, first["baseline"], name)]
    if pd.notna(first["chance"]):
        rows.append(("chance", metric, first["chance"], "a class at random"))
    if pd.notna(first["optimum"]):
        rows.append(("theoretical optimum", metric, first["optimum"], "every answer right"))
    rows += [
        (f"{said['model']}, published", said["metric"], said["value"], _source(said))
        for said in material.study["published"]
        if said["task"] == task
    ]
    frame = pd.DataFrame(rows, columns=["model", "metric", "mean", "source"])
    return frame.assign(row="reference", task=task)


def _source(said: Mapping[str, Any]) -> str:
    """Where a published figure is from, with its unit where that is not the task's own."""
    unit = f"{said['metric']}, {said['unit']}: " if "unit" in said else ""
    return f"{unit}{said['source']}"


def over_seeds(there: float, material: ReportInputs) -> str:
    """Over how many seeds a mean goes: «3», or «2 of 3» where the study asks for more."""
    asked = len(material.study["seeds"])
    return f"{there:.0f}" if there == asked else f"{there:.0f} of {asked}"


def lost_seeds(material: ReportInputs, task: str) -> Iterator[str]:
    """For each model of a task with lost seeds: which its mean leaves out, and why."""
    missing = material.missing[material.missing["task"] == task]
    lost = missing[missing["what"].str.startswith("train seed ")]
    there = material.results[material.results["task"] == task].set_index("model")["seeds"]
    for model, own in lost.groupby("model", observed=True):
        seeds = "; ".join(
            f"{what.removeprefix('train ')} {reason}"
            for what, reason in zip(own["what"], own["reason"], strict=True)
        )
        yield f"{model}: {over_seeds(there[model], material)} seeds; {seeds}."


def _result(row: dict[Any, Any], material: ReportInputs, receipts: Sequence[Receipt]) -> Row:
    """One line of a results table."""
    mean = number(row["mean"], row["metric"])
    if row["row"] == "reference":
        return Row([row["model"], mean, row["source"]], "reference")
    if not row["seeds"]:
        return Row([row["model"], f"missing: {row['reason']}"], "missing")
    cells = [
        f"{row['model']} ★" if row["best"] else row["model"],
        mean,
        interval(row["low"], row["high"], row["metric"]),
        *([_middle(row)] if _has_middle(material) else []),
        over_seeds(row["seeds"], material),
        f"{row['parameters']:,}",
        NONE if pd.isna(row["hidden_size"]) else f"{row['hidden_size']:.0f}",
        NONE if pd.isna(row["train_seconds"]) else f"{row['train_seconds']:.1f}",
    ]
    links = [receipt.link(row[receipt.title]) for receipt in receipts]
    return Row([*cells, *links], "best" if row["best"] else "")


def _has_middle(material: ReportInputs) -> bool:
    """Whether an interquartile mean leaves any seed out: of fewer than four it is the mean."""
    return len(material.study["seeds"]) >= 4


def _middle(row: Mapping[Any, Any]) -> str:
    bounds = interval(row["iqm_low"], row["iqm_high"], row["metric"])
    return Markup("{}<small>{}</small>").format(number(row["iqm"], row["metric"]), bounds)


def _notes(material: ReportInputs, receipts: Sequence[Receipt]) -> list[str]:
    said, seeds = material.sizes, len(material.study["seeds"])
    if seeds == 1:
        said += " One seed: no interval, and so no winner."
    else:
        said += " ★: the interval overlaps no other model's. Intervals: bootstrap over seeds,"
        said += " and over test sequences within them."
        said += many_comparisons(len(material.study["models"]), len(material.study["tasks"]))
    if seeds in (2, 3):
        said += f" Of {seeds} seeds they are rough."
    if _has_middle(material):
        said += " Interquartile mean: a quarter of the seeds, rounded down, left out at each end."
    return [said, *(f"MLflow runs in {receipt.uri}." for receipt in receipts)]


def many_comparisons(models: int, tasks: int) -> str:
    """How many pairs of models the stars of a study stand on; nothing where it is one pair."""
    pairs = math.comb(models, 2)
    if pairs * tasks < 2:
        return ""
    every = f", {pairs * tasks} in the study" if tasks > 1 else ""
    return f" {pairs} pairs of models are compared here{every}; ★ is not corrected for so many."


def lengths(material: ReportInputs, task: str) -> Iterator[str]:
    """What a budget of operations or seconds came to in steps; nothing where steps are equal."""
    runs = material.runs
    steps = runs[(runs["task"] == task) & (runs["metric"] == "steps")].groupby("model")["value"]
    budgets: dict[str, list[str]] = {}
    for model, count in steps.max().items():
        budget = material.study["trained"][f"{task}/{model}"]["trainer"]["budget"] or {}
        for kind in budget.keys() & COMPUTE.keys():
            said = COMPUTE[kind].format(budget[kind])
            budgets.setdefault(said, []).append(f"{model} {count:,.0f}")
    for said, models in budgets.items():
        yield f"Each run has {said}; in steps: {', '.join(models)}."


def tuning_table(material: ReportInputs, task: str) -> Table:
    """What tuning chose for each model of a task; every trial stands in the CSV."""
    own = material.tuning[material.tuning["task"] == task]
    keys = list(dict.fromkeys(key for it in own["values"] for key in json.loads(it)))
    metric = own["metric"].max()
    rows = []
    for model, trials in own.groupby("model", observed=True):
        best = trials[trials["chosen"]].iloc[0]
        values = json.loads(best["values"])
        lost = int((trials["reason"] != "").sum())
        tried = f"{len(trials)}, {lost} diverged" if lost else f"{len(trials)}"
        chosen = [json.dumps(values[key]) for key in keys]
        rows.append(Row([str(model), tried, *chosen, number(best["score"], metric)]))
    return Table(
        name=f"tuning_{task}",
        title=f"Tuned on {task}",
        head=["tuned model", "trials", *keys, f"{metric} (validation)"],
        rows=rows,
        frame=own,
        notes=["Chosen by the validation split alone, by one seed that is not among the study's."],
    )


def score_tables(material: ReportInputs) -> Iterator[Table]:
    """For each task and score: explainers by model, each beside a random attribution."""
    scored = material.scores[material.scores["score"] != ""]
    for keys, part in scored.groupby(["task", "score"], observed=True):
        task, score = map(str, keys)
        explainers = list(part["explainer"].unique())
        unskilled = material.without_skill(task)
        records = part.to_dict("records")
        cells = {(row["model"], row["explainer"]): _score(row) for row in records}
        rows = []
        for model in part["model"].unique():
            learned = model not in unskilled
            shown = [cells.get((model, explainer), NONE) for explainer in explainers]
            rows.append(
                Row([model if learned else f"{model} †", *shown], "" if learned else "weak")
            )
        notes = ["† did not beat the trivial baseline: it has learned nothing to be explained."]
        yield Table(
            name=f"scores_{score}_{task}",
            title=f"{task}: {score}",
            head=["model", *(explainer.replace("_", " ") for explainer in explainers)],
            rows=rows,
            frame=part,
            notes=[SCORES.get(score, ""), *(notes if unskilled else []), material.sizes],
        )


def _score(row: Mapping[Any, Any]) -> str:
    shown = Markup("<b>{}</b>" if above_chance(row) else "{}").format(number(row["mean"]))
    if pd.notna(row["low"]):
        shown += Markup("<small>{}</small>").format(interval(row["low"], row["high"]))
    return shown + Markup("<small>chance {}</small>").format(number(row["chance"]))


def above_chance(row: Mapping[Any, Any]) -> bool:
    """Whether a score, with its whole interval if it has one, is above a random attribution's."""
    return bool((row["mean"] if pd.isna(row["low"]) else row["low"]) > row["chance"])


def means_table(probe: str, frame: pd.DataFrame, sizes: str) -> Table:
    """A probe without a figure of its own: the mean of each of its numbers, by task and model."""
    numbers = [str(name) for name in frame.select_dtypes("number") if name != "seed"]
    means = frame.groupby(["task", "model"], observed=True)[numbers].mean().reset_index()
    rows = [
        Row([row["task"], row["model"], *(number(row[name]) for name in numbers)])
        for row in means.to_dict("records")
    ]
    return Table(
        name=f"probe_{probe}",
        title=probe,
        head=["task", "model", *numbers],
        rows=rows,
        frame=means,
        notes=["Means over all rows of all seeds.", sizes],
    )


def missing_tables(material: ReportInputs) -> tuple[Table, Table]:
    """The holes of the study, and what does not apply; a reason stands once for all its cells."""
    missing = material.missing
    applies = ~missing["reason"].str.startswith("does not apply")
    return (
        _grouped("missing", "What is missing", missing[applies]),
        _grouped("does_not_apply", "What does not apply", missing[~applies]),
    )


def _grouped(name: str, title: str, frame: pd.DataFrame) -> Table:
    rows = []
    for keys, part in frame.groupby(["what", "reason"], sort=False):
        what, reason = map(str, keys)
        rows.append(Row([what, reason.removeprefix("does not apply: "), _where(part)]))
    return Table(name, title, ["what", "why", "where"], rows, frame)


def _where(frame: pd.DataFrame) -> str:
    """The cells of a frame, and in a word a task of which every model is there."""
    every = len(frame["model"].cat.categories)
    said = []
    for task, own in frame.groupby("task", observed=True):
        models = list(own["model"].unique())
        said.append(f"{task} × {'every model' if len(models) == every else ', '.join(models)}")
    return "; ".join(said)
