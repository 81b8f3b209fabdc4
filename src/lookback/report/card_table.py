"""The memory card as it is shown: one row a cell, a column for each thing that some cell has."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from lookback.report.inputs import ReportInputs
from lookback.report.result_tables import NONE, Row, Table, number

AGREE = 0.05  # of the exponent, between the spectrum forwards and the Jacobian backwards
Cells = Mapping[Any, Any]


def card_table(material: ReportInputs) -> Table:
    """One row a cell, of what any cell has; in full, with the time that training took."""
    card = material.memory["memory_card"]
    spent = material.cost.groupby(["task", "model"], observed=True)["train_seconds"].mean()
    frame = card.merge(spent.reset_index(), on=["task", "model"], how="left")
    shown = [each for each in COLUMNS if frame[list(each.figures)].notna().any(axis=None)]
    rows, before = [], None
    for row in frame.to_dict("records"):
        task = row["task"] if row["task"] != before else ""
        before = row["task"]
        cells = [task, row["model"], *(column.show(row) for column in shown)]
        is_weak = row["model"] in material.without_skill(row["task"])
        rows.append(Row([*cells, *_cost(row)], "weak" if is_weak else ""))
    notes = " ".join(column.note for column in shown)
    return Table(
        name="memory_card",
        title="Memory card",
        head=["task", "model", *(each.title for each in shown), "parameters", "seeds", "train s"],
        rows=rows,
        frame=frame,
        notes=[
            f"Times are in steps. {notes}",
            forwards_and_backwards(frame),
            "Means over seeds: of the rates, from which a half-distance is taken; of the curves, "
            "off which a distance is read; of the logarithm of a time constant. Grey: did not "
            f"beat the trivial baseline. {material.sizes}",
        ],
    )


def forwards_and_backwards(card: pd.DataFrame) -> str:
    """Where the first exponent and the rate of the Jacobian agree, and where not."""
    known = card[card["rate_difference"].notna()]
    if known.empty:
        return ""
    apart = known[known["rate_difference"] > AGREE].sort_values("rate_difference", ascending=False)
    cells = zip(apart["task"], apart["model"], apart["rate_difference"], strict=True)
    said = [f"{task} × {model} {share(difference)}" for task, model, difference in cells]
    where = f"; not in {', '.join(said)}" if said else ""
    count = f"{len(known) - len(apart)} of {len(known)} cells"
    return f"Lyapunov exponent and backward rate agree within {share(AGREE)} in {count}{where}."


def _cost(row: Cells) -> tuple[str, str, str]:
    parameters, seconds = row["parameters"], row["train_seconds"]
    return (
        NONE if pd.isna(parameters) else f"{parameters:,}",
        f"{row['seeds']}",
        NONE if pd.isna(seconds) else f"{seconds:.1f}",
    )


def _horizon(row: Cells) -> str:
    shown = lag(row["horizon"], is_censored=row["horizon_censored"])
    low, high = steps(row["horizon_low"]), steps(row["horizon_high"])
    return shown if low == high else Markup("{}<small>{} to {}</small>").format(shown, low, high)


def _half_distance(row: Cells) -> str:
    if pd.isna(row["half_distance_initial"]) and pd.isna(row["half_distance_trained"]):
        return NONE
    return f"{steps(row['half_distance_initial'])} → {steps(row['half_distance_trained'])}"


def _exponent(row: Cells) -> str:
    shown = number(row["lyapunov"])
    if pd.isna(row["rate_difference"]):
        return shown
    apart = row["rate_difference"]
    verdict = "agrees" if apart <= AGREE else f"{share(apart)} apart"
    said = f"backward {number(row['jacobian_rate'])}: {verdict}"
    return Markup("{}<small>{}</small>").format(shown, said)


class Column(NamedTuple):
    """A column of the card: its title, the figures it shows, how, and a note that explains it."""

    title: str
    figures: tuple[str, ...]
    show: Callable[[Cells], str]
    note: str


COLUMNS = (
    Column(
        "horizon",
        ("horizon",),
        _horizon,
        "Horizon: the largest lag up to which recall stays above one half, with its 95 % "
        "bootstrap interval; «≥» where it lies past the longest lag tried.",
    ),
    Column(
        "gradient halves after",
        ("half_distance_initial", "half_distance_trained"),
        _half_distance,
        "Gradient: before training → after; ∞ where it does not fall.",
    ),
    Column(
        "Lyapunov exponent",
        ("lyapunov",),
        _exponent,
        "Lyapunov exponent: the first, in nats a step; backward: the rate of ‖∂s_T/∂s_t‖.",
    ),
    Column(
        "capacity",
        ("capacity",),
        lambda row: number(row["capacity"]),
        "Capacity: linear, summed over delays.",
    ),
    Column(
        "decoded up to",
        ("decoding",),
        lambda row: steps(row["decoding"]),
        "Decoded: as long as a linear read-out of the state finds half of what it finds at once.",
    ),
    Column(
        "context",
        ("context",),
        lambda row: steps(row["context"]),
        "Context: the last steps that give 95 % of the whole skill.",
    ),
    Column(
        "time constant",
        ("timescale",),
        lambda row: steps(row["timescale"]),
        "Time constant: of the gates, the 90th percentile over units.",
    ),
    Column(
        "skill",
        ("skill",),
        lambda row: hundredths(row["skill"]),
        "Skill: on the test split, 0 at the trivial baseline and 1 where all is right.",
    ),
)


def steps(value: float) -> str:
    """A time in steps, in whole ones from ten on; «∞» where it has no end."""
    if pd.isna(value):
        return NONE
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.1f}"


def hundredths(value: float) -> str:
    """A correlation or a skill, in two decimals; no zero below zero."""
    return NONE if pd.isna(value) else f"{round(value, 2) + 0.0:.2f}"


def share(value: float) -> str:
    """A relative error in percent."""
    return NONE if pd.isna(value) else f"{100 * value:,.0f}\N{NO-BREAK SPACE}%"


def lag(value: float, *, is_censored: bool) -> str:
    """A horizon; «≥» where it lies past the longest lag tried."""
    return f"≥ {steps(value)}" if is_censored else steps(value)
