"""What the study found, in sentences computed from its tables: no more than they allow."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lookback.report.inputs import ReportInputs
from lookback.report.probe_figures import findings
from lookback.report.result_tables import above_chance, interval, lost_seeds, number, over_seeds


@dataclass(frozen=True)
class Answer:
    """What was found on one task: a verdict in a few words, what stands behind it, and the rest."""

    task: str
    verdict: str
    sentences: list[str]
    more: list[str]  # what the probes after the study's first one found


def answers(material: ReportInputs) -> Iterator[Answer]:
    """One answer a task, in the study's order."""
    for task in material.study["tasks"]:
        there, unskilled = material.reached(task), material.without_skill(task)
        verdict, reason = compare(there, material)
        if unskilled and len(unskilled) == len(there):
            verdict = "not learned"
        every = len(material.study["models"])
        if absent := every - len(there):
            verdict += f" ({absent} of {every} models missing)"
        first, *more = [*findings(material, task)] or [""]
        sentences = [
            reason,
            *lost_seeds(material, task),
            *at_baseline(there, unskilled),
            first,
            *best_explainers(material, task),
        ]
        yield Answer(task, verdict, [sentence for sentence in sentences if sentence], more)


def compare(there: pd.DataFrame, material: ReportInputs) -> tuple[str, str]:
    """Which model is best on a task, if the intervals allow to say so."""
    if there.empty:
        return "no result", "Nothing was trained that counts."
    metric, is_higher = there["metric"].iloc[0], there["better"].iloc[0] == "higher"
    leader = there.sort_values("mean", ascending=not is_higher).iloc[0]
    reached = f"{leader['model']} reaches {metric} {number(leader['mean'], metric)}"
    if len(there) == 1:
        return "nothing to compare", f"{reached}; no other model is there."
    if pd.isna(leader["low"]):
        return "no clear winner", f"{reached}, the best mean, but of one seed: no interval."
    if leader["seeds"] < len(material.study["seeds"]):
        over = f"{over_seeds(leader['seeds'], material)} seeds"
        return "no clear winner", f"{reached}, the best mean, but over {over} alone."
    bounds = interval(leader["low"], leader["high"], metric)
    reached += f" (95 % interval {bounds}, {leader['seeds']} seeds)"
    if leader["best"]:
        return f"{leader['model']} is best", f"{reached}; no other model's interval overlaps."
    rivals = there[there["model"] != leader["model"]]
    apart = rivals["high"] < leader["low"] if is_higher else rivals["low"] > leader["high"]
    close = ", ".join(rivals.loc[~apart, "model"])
    return "no clear winner", f"{reached}, the best mean, but not clear of {close}."


def at_baseline(there: pd.DataFrame, unskilled: list[str]) -> Iterator[str]:
    """Which models learned nothing that a constant answer does not know."""
    if unskilled:
        first = there.iloc[0]
        value = number(first["baseline"], first["metric"])
        who = "every model" if len(unskilled) == len(there) else ", ".join(unskilled)
        yield f"At the trivial baseline ({first['baseline_name']}: {value}) stayed {who}."


def best_explainers(material: ReportInputs, task: str) -> Iterator[str]:
    """For each score and each model that learned, the explainer farthest above chance."""
    scored = material.scores[(material.scores["task"] == task) & material.scores["mean"].notna()]
    learned = scored[~scored["model"].isin(material.without_skill(task))]
    if len(scored) and learned.empty:
        yield "No model learned the task, so no explanation of one says anything."
    for score, part in learned.groupby("score", sort=False):
        gain = (part["mean"] - part["chance"]).groupby(part["model"], observed=True)
        best = part.loc[gain.idxmax()].to_dict("records")
        low, high = (number(pick(row["chance"] for row in best)) for pick in (min, max))
        chance = low if low == high else f"{low} to {high}"
        yield f"Explainer farthest above chance ({chance}) by {score}: {_named(best)}."


def _named(best: list[dict[Any, Any]]) -> str:
    """«occlusion for gru (0.94), lstm (0.91); none for rnn», from the best row of each model."""
    models: dict[str, list[str]] = {}
    for row in best:
        if above_chance(row):
            said = f"{row['model']} ({number(row['mean'])})"
            models.setdefault(row["explainer"], []).append(said)
        else:
            models.setdefault("none", []).append(row["model"])
    return "; ".join(f"{explainer} for {', '.join(names)}" for explainer, names in models.items())
