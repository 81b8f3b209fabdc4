"""The tables of the report, with few digits on the page and all digits in the CSV files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from lookback.explain.completeness import LARGEST_GAP
from lookback.report.inputs import ReportInputs
from lookback.report.numbers import NONE, interval, number, percent
from lookback.report.receipts import Receipt
from lookback.summarise.explainer_scores import WITHOUT_SKILL

COMPUTE = {
    "flops": "{:g} floating-point operations",
    "seconds": "{:g} seconds of steps. The time of a step was measured once, so a rerun on another "
    "machine has another number of steps",
}
OTHERS = {
    "macro_f1": "macro F1",
    "sequence_accuracy": "sequences with every answer correct",
    "mae": "mean absolute error",
    "r2": "R²",
}
SCORES = {
    "evidence_auc": "Does the attribution find the evidence? Area under the ROC curve, 0 to 1.",
    "evidence_auprc": "Does the attribution find the evidence? Average precision, 0 to 1.",
    "evidence_hits": "Share of the k evidence steps among the k strongest steps, 0 to 1.",
    "evidence_mass": "Share of the strength on the evidence. A sharper map has a larger share, "
    "even with the same order of the steps: for comparison with the literature only.",
    "deletion": "Does the answer change without the steps that the attribution ranks highest?",
}


SCORE_NOTE = (
    "Intervals: Student's t, from the spread over seeds and over the explained sequences. The "
    "scores with evidence take right answers only. Bold: better than each other explainer of the "
    "model in a paired comparison on the same answers, corrected for their number. Random: the "
    "score of a random attribution. An attribution that knows nothing of the model can score far "
    "above it, so a score above it does not show that the model was explained. Gap: the median "
    "amount by which the attributions of a sequence miss the sum that the method promises, as a "
    "share of that sum."
)


@dataclass(frozen=True)
class Row:
    """One row of a table on the page.

    `kind` is "best", "weak", "missing", "reference" or "". If the row has fewer cells than the
    table has columns, the last cell spans the rest of the row.
    """

    cells: list[str]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table on the page, where `frame` holds the same rows with all columns and digits."""

    name: str
    title: str
    head: list[str]
    rows: list[Row]
    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def results_table(inputs: ReportInputs, task: str, receipts: Sequence[Receipt]) -> Table:
    """The table of the test scores of all models on a task, with reference scores below."""
    of_task = inputs.results[inputs.results["task"] == task]
    cost = inputs.cost[inputs.cost["task"] == task].groupby("model", observed=True)
    seconds = of_task["model"].map(cost["train_seconds"].mean())
    frame = of_task.assign(row="model", train_seconds=seconds)
    for receipt in receipts:
        frame[receipt.title] = [receipt.run(task, model) for model in of_task["model"]]
    frame = pd.concat([frame, references(inputs, task, of_task)], ignore_index=True)
    titles = [
        "model",
        f"{of_task['metric'].max() or 'metric'} (test)",
        "95 % interval",
        *(["interquartile mean"] if _has_iqm(inputs) else []),
        "seeds",
        "parameters",
        "hidden size",
        "train s/seed",
    ]
    return Table(
        name=f"results_{task}",
        title=task,
        head=[*titles, *("MLflow run" for _ in receipts)],
        rows=[_result(row, inputs, receipts) for row in frame.to_dict("records")],
        frame=frame,
        notes=[
            *lost_seeds(inputs, task),
            *_notes(inputs, receipts),
            *draw_of_the_data(inputs, task),
            *lengths(inputs, task),
        ],
    )


def metrics_table(inputs: ReportInputs, task: str) -> Table | None:
    """The table of the other test scores of a task, or None if there are none.

    The table has one row per model and one column per score. The CSV file also holds the accuracy
    of each class.
    """
    of_task = inputs.metrics[inputs.metrics["task"] == task]
    main = inputs.results.loc[inputs.results["task"] == task, "metric"].max()
    by_class = of_task["metric"].str.startswith("class_")
    shown = of_task[~by_class & (of_task["metric"] != main)]
    if shown.empty:
        return None
    names = list(shown["metric"].unique())
    rows = []
    for model, part in shown.groupby("model", observed=True):
        spreads = part.set_index("metric").to_dict("index")
        rows.append(Row([str(model), *(_other(spreads.get(name)) for name in names)]))
    notes = ["Means over seeds, with the 95 % interval of Student's t over seeds."]
    if by_class.any():
        notes.append(f"The accuracy of each class is in tables/metrics_{task}.csv.")
    titles = [OTHERS.get(name, name) for name in names]
    return Table(
        f"metrics_{task}", f"Other scores on {task}", ["model", *titles], rows, of_task, notes
    )


def _other(spread: Mapping[Any, Any] | None) -> str:
    if spread is None:
        return NONE
    shown = Markup("{}").format(number(spread["mean"]))
    if pd.notna(spread["low"]):
        shown += Markup("<small>{}</small>").format(interval(spread["low"], spread["high"]))
    return shown


def references(inputs: ReportInputs, task: str, of_task: pd.DataFrame) -> pd.DataFrame:
    """The reference rows of a task, for baselines, chance, optimum and published scores."""
    first, metric = of_task.iloc[0], of_task["metric"].max()
    name = first["baseline_name"] or "unknown: the task is missing"
    if first["baseline_name"] and pd.isna(first["chance"]):
        name += "; a value has no chance level"
    rows = [("trivial baseline", metric, first["baseline"], name)]
    others = json.loads(first["other_baselines"])
    rows += [("weaker baseline", metric, score, other) for other, score in others.items()]
    if pd.notna(first["chance"]):
        rows.append(("chance", metric, first["chance"], "a class at random"))
    if pd.notna(first["optimum"]):
        rows.append(("theoretical optimum", metric, first["optimum"], "every answer right"))
    rows += [
        (f"{figure['model']}, published", figure["metric"], figure["value"], _source(figure))
        for figure in inputs.study["published"]
        if figure["task"] == task
    ]
    frame = pd.DataFrame(rows, columns=["model", "metric", "mean", "source"])
    return frame.assign(row="reference", task=task)


def _source(figure: Mapping[str, Any]) -> str:
    """The source of a published score, with the unit if it differs from the task's unit."""
    unit = f"{figure['metric']}, {figure['unit']}: " if "unit" in figure else ""
    return f"{unit}{figure['source']}"


def seed_count(trained: float, inputs: ReportInputs) -> str:
    """Format the number of seeds as «3», or as «2 of 3» if seeds of the study are missing."""
    wanted = len(inputs.study["seeds"])
    return f"{trained:.0f}" if trained == wanted else f"{trained:.0f} of {wanted}"


def lost_seeds(inputs: ReportInputs, task: str) -> Iterator[str]:
    """Yield which seeds are left out of a model's mean on a task, and why."""
    missing = inputs.missing[inputs.missing["task"] == task]
    lost = missing[missing["what"].str.startswith("train seed ")]
    trained = inputs.results[inputs.results["task"] == task].set_index("model")["seeds"]
    for model, rows in lost.groupby("model", observed=True):
        seeds = "; ".join(
            f"{what.removeprefix('train ')} {reason}"
            for what, reason in zip(rows["what"], rows["reason"], strict=True)
        )
        yield f"{model}: {seed_count(trained[model], inputs)} seeds; {seeds}."


def _result(row: dict[Any, Any], inputs: ReportInputs, receipts: Sequence[Receipt]) -> Row:
    """One row of a results table."""
    mean = number(row["mean"], row["metric"])
    if row["row"] == "reference":
        return Row([row["model"], mean, row["source"]], "reference")
    if not row["seeds"]:
        return Row([row["model"], f"missing: {row['reason']}"], "missing")
    cells = [
        f"{row['model']} ★" if row["best"] else row["model"],
        mean,
        interval(row["low"], row["high"], row["metric"]),
        *([_iqm(row)] if _has_iqm(inputs) else []),
        seed_count(row["seeds"], inputs),
        f"{row['parameters']:,}",
        NONE if pd.isna(row["hidden_size"]) else f"{row['hidden_size']:.0f}",
        NONE if pd.isna(row["train_seconds"]) else f"{row['train_seconds']:.1f}",
    ]
    links = [receipt.link(row[receipt.title]) for receipt in receipts]
    return Row([*cells, *links], "best" if row["best"] else "")


def _has_iqm(inputs: ReportInputs) -> bool:
    """Whether the interquartile mean leaves out any seed.

    With fewer than four seeds, the interquartile mean equals the mean.
    """
    return len(inputs.study["seeds"]) >= 4


def _iqm(row: Mapping[Any, Any]) -> str:
    bounds = interval(row["iqm_low"], row["iqm_high"], row["metric"])
    return Markup("{}<small>{}</small>").format(number(row["iqm"], row["metric"]), bounds)


def _notes(inputs: ReportInputs, receipts: Sequence[Receipt]) -> list[str]:
    note, seeds = inputs.sizes, len(inputs.study["seeds"])
    if seeds == 1:
        note += " One seed has no interval, so no model can be called best."
    else:
        note += " Intervals: Student's t, from the spread over seeds and over the test sequences,"
        note += " which all seeds share."
        note += comparisons(len(inputs.study["models"]), len(inputs.study["tasks"]))
    if _has_iqm(inputs):
        note += " Interquartile mean: without a quarter of the seeds, rounded down, at each end."
    return [note, *(f"MLflow runs in {receipt.uri}." for receipt in receipts)]


def draw_of_the_data(inputs: ReportInputs, task: str) -> Iterator[str]:
    """Yield whether train sequences are repeated, and whether the intervals include their draw."""
    settings = inputs.study["tasks"][task]
    if settings.get("fresh"):
        yield "Train sequences are never repeated: each training step draws new ones."
    if len(inputs.study["seeds"]) == 1:
        return
    if settings.get("seed") == "per_run":
        yield (
            "Each seed drew its own train and validation sequences, so the intervals include the "
            "draw of the data. The test sequences are the same for all seeds and models."
        )
    else:
        yield (
            "All seeds were trained on the same sequences, so the intervals leave out the draw of "
            "the data."
        )


def comparisons(models: int, tasks: int) -> str:
    """A note on how the best model is chosen, or an empty string if there is only one model."""
    if models < 2:
        return ""
    note = " ★: better than each other model in a paired comparison on the same test sequences"
    if models > 2:
        note += f", corrected for {models - 1} rivals"
    return note + (f", but not for the {tasks} tasks of the study." if tasks > 1 else ".")


def lengths(inputs: ReportInputs, task: str) -> Iterator[str]:
    """Yield how many training steps each model got from a budget of operations or seconds."""
    runs = inputs.runs
    steps = runs[(runs["task"] == task) & (runs["metric"] == "steps")].groupby("model")["value"]
    budgets: dict[str, list[str]] = {}
    for model, count in steps.max().items():
        budget = inputs.study["trained"][f"{task}/{model}"]["trainer"]["budget"] or {}
        for kind in budget.keys() & COMPUTE.keys():
            amount = COMPUTE[kind].format(budget[kind])
            budgets.setdefault(amount, []).append(f"{model} {count:,.0f}")
    for amount, models in budgets.items():
        yield f"Each run has {amount}; in steps: {', '.join(models)}."


def tuning_table(inputs: ReportInputs, task: str) -> Table:
    """The table of the settings that tuning chose for each model on a task.

    The CSV file holds every trial.
    """
    all_trials = inputs.tuning[inputs.tuning["task"] == task]
    keys = list(dict.fromkeys(key for text in all_trials["values"] for key in json.loads(text)))
    metric = all_trials["metric"].max()
    rows = []
    for model, trials in all_trials.groupby("model", observed=True):
        best = trials[trials["chosen"]].iloc[0]
        values = json.loads(best["values"])
        lost = int((trials["reason"] != "").sum())
        pruned = int(trials["pruned"].sum())
        counts = [f"{lost} diverged"] * bool(lost) + [f"{pruned} pruned"] * bool(pruned)
        tried = ", ".join([f"{len(trials)}", *counts])
        chosen = [json.dumps(values[key]) for key in keys]
        rows.append(Row([str(model), tried, *chosen, number(best["score"], metric)]))
    return Table(
        name=f"tuning_{task}",
        title=f"Tuned on {task}",
        head=["tuned model", "trials", *keys, f"{metric} (validation)"],
        rows=rows,
        frame=all_trials,
        notes=[_tuned_by(int(all_trials["seeds"].max()))],
    )


def _tuned_by(seeds: int) -> str:
    if seeds == 1:
        return "Chosen on the validation split, with one seed that the study does not use."
    return (
        "Chosen on the validation split, by the mean score of each trial over "
        f"{seeds} seeds that the study does not use."
    )


def score_tables(inputs: ReportInputs) -> Iterator[Table]:
    """Yield one table per task and score, with one row per model and one column per explainer.

    Each entry also gives the score of a random attribution.
    """
    scored = inputs.scores[inputs.scores["score"] != ""]
    for keys, part in scored.groupby(["task", "score"], observed=True):
        task, score = map(str, keys)
        explainers = list(part["explainer"].unique())
        records = part.to_dict("records")
        cells = {(row["model"], row["explainer"]): _score(row) for row in records}
        rows = [
            Row([model, *(cells.get((model, explainer), NONE) for explainer in explainers)])
            for model in part["model"].unique()
        ]
        unskilled = inputs.without_skill(task)
        rows += [Row([model, WITHOUT_SKILL], "weak") for model in unskilled]
        yield Table(
            name=f"scores_{score}_{task}",
            title=f"{task}: {score}",
            head=["model", *(explainer.replace("_", " ") for explainer in explainers)],
            rows=rows,
            frame=part,
            notes=[SCORES.get(score, ""), SCORE_NOTE, inputs.sizes],
        )


def _score(row: Mapping[Any, Any]) -> str:
    shown = Markup("<b>{}</b>" if row["best"] else "{}").format(number(row["mean"]))
    if pd.notna(row["low"]):
        shown += Markup("<small>{}</small>").format(interval(row["low"], row["high"]))
    shown += Markup("<small>random {}</small>").format(number(row["chance"]))
    if pd.notna(row["gap"]):
        shown += Markup("<small>gap {}</small>").format(percent(row["gap"]))
    if row["wide"] > 0:
        warning = "⚠ gap above {} in {} of the sequences"
        text = warning.format(percent(LARGEST_GAP), percent(row["wide"]))
        shown += Markup("<small>{}</small>").format(text)
    return shown


def means_table(probe: str, frame: pd.DataFrame, sizes: str) -> Table:
    """The table of a probe without a figure, with the mean of each column per task and model."""
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


def missing_tables(inputs: ReportInputs) -> tuple[Table, Table]:
    """The table of missing results, and the table of probes and explainers that do not apply.

    Models and tasks with the same reason share one row.
    """
    missing = inputs.missing
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
    """Format the tasks and models in a frame, as in «digits_rows × rnn, gru»."""
    model_count = len(frame["model"].cat.categories)
    parts = []
    for task, rows in frame.groupby("task", observed=True):
        models = list(rows["model"].unique())
        is_all = len(models) == model_count
        parts.append(f"{task} × {'every model' if is_all else ', '.join(models)}")
    return "; ".join(parts)
