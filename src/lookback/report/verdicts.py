"""State the findings of the study in sentences that are computed from its tables."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from lookback.report.control_table import control_sentences
from lookback.report.inputs import ReportInputs
from lookback.report.numbers import interval, number
from lookback.report.probe_figures import findings
from lookback.report.result_tables import lost_seeds, seed_count


@dataclass(frozen=True)
class Answer:
    """The findings on one task, with a short verdict, its reasons, and the other findings."""

    task: str
    verdict: str
    sentences: list[str]
    more: list[str]  # findings of all probes but the first, whose finding is in `sentences`


def answers(inputs: ReportInputs) -> Iterator[Answer]:
    """Yield the findings on each task, in the order of the study."""
    for task in inputs.study["tasks"]:
        trained, unskilled = inputs.trained(task), inputs.without_skill(task)
        verdict, reason = compare(trained, inputs)
        if unskilled and len(unskilled) == len(trained):
            verdict = "not learned"
        model_count = len(inputs.study["models"])
        if absent := model_count - len(trained):
            verdict += f" ({absent} of {model_count} models missing)"
        first, *more = [*findings(inputs, task)] or [""]
        sentences = [
            reason,
            *lost_seeds(inputs, task),
            *at_baseline(trained, unskilled),
            first,
            *best_explainers(inputs, task),
            *control_sentences(inputs, task),
        ]
        yield Answer(task, verdict, [sentence for sentence in sentences if sentence], more)


def compare(trained: pd.DataFrame, inputs: ReportInputs) -> tuple[str, str]:
    """State the best model on a task and why, or «no clear winner» if a rival is close."""
    if trained.empty:
        return "no result", "No model has a valid result."
    metric, is_higher = trained["metric"].iloc[0], trained["better"].iloc[0] == "higher"
    leader = trained.sort_values("mean", ascending=not is_higher).iloc[0]
    reached = f"{leader['model']} reaches {metric} {number(leader['mean'], metric)}"
    if len(trained) == 1:
        return "nothing to compare", f"{reached}; there is no other model."
    if pd.isna(leader["low"]):
        return "no clear winner", f"{reached}, the best mean, but one seed has no interval."
    if leader["seeds"] < len(inputs.study["seeds"]):
        count = seed_count(leader["seeds"], inputs)
        return "no clear winner", f"{reached}, the best mean, but only {count} seeds were trained."
    bounds = interval(leader["low"], leader["high"], metric)
    reached += f" (95 % interval {bounds}, {leader['seeds']} seeds)"
    if leader["best"]:
        return f"{leader['model']} is best", f"{reached}, clearly better than every other model."
    close = leader["close"]
    return "no clear winner", f"{reached}, the best mean, but not clearly better than {close}."


def at_baseline(trained: pd.DataFrame, unskilled: list[str]) -> Iterator[str]:
    """State which models did not beat the trivial baseline."""
    if unskilled:
        first = trained.iloc[0]
        value = number(first["baseline"], first["metric"])
        models = "any model" if len(unskilled) == len(trained) else ", ".join(unskilled)
        baseline = f"the trivial baseline ({first['baseline_name']}: {value})"
        yield f"The score is not better than {baseline} for {models}."


def best_explainers(inputs: ReportInputs, task: str) -> Iterator[str]:
    """For each score, name the explainer of each model that is clearly better than the others.

    Models that did not beat the trivial baseline have no scores. Without a second explainer there
    is nothing to compare.
    """
    of_task = inputs.scores[inputs.scores["task"] == task]
    scored = of_task[of_task["mean"].notna()]
    if len(of_task) and scored.empty and inputs.without_skill(task):
        yield "No model learned the task, so there is nothing to explain."
    for score, part in scored.groupby("score", sort=False):
        compared = part.groupby("model", observed=True).filter(lambda rows: len(rows) > 1)
        if len(compared):
            yield f"Best explainer by {score}: {_best_by_explainer(compared)}."


def _best_by_explainer(scored: pd.DataFrame) -> str:
    """Format the best explainer of each model, as in «occlusion for gru (0.94)».

    The models without an explainer that is clearly better than all others are listed last.
    """
    best = scored[scored["best"]]
    parts = []
    for explainer, rows in best.groupby("explainer", sort=False):
        pairs = zip(rows["model"], rows["mean"], strict=True)
        listed = ", ".join(f"{model} ({number(mean)})" for model, mean in pairs)
        parts.append(f"{explainer} for {listed}")
    undecided = [model for model in scored["model"].unique() if model not in set(best["model"])]
    if undecided:
        parts.append(f"none clearly for {', '.join(undecided)}")
    return "; ".join(parts)
