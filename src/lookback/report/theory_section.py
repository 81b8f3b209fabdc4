"""Say in tables and sentences of the report how well theory predicts the memory horizon."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from lookback.report.numbers import NONE, hundredths, percent, shown, steps
from lookback.report.result_tables import Row, Table
from lookback.summarise.quantities.base import STEPS
from lookback.summarise.quantities.registry import BY_NAME
from lookback.summarise.theory import BAR_CORRELATION, BAR_ERROR, PREDICTED

CERTAIN = 0.05  # a p-value below this value counts as evidence against chance


def label_of(quantity: str) -> str:
    """The label of one row of the table `theory`, which is about a quantity or the prediction."""
    if quantity == PREDICTED:
        return "predicted from theory, on the tasks left out"
    return BY_NAME[quantity].label


def theory_table(frame: pd.DataFrame) -> Table:
    """The table of the rank correlation of each quantity with the horizon.

    `frame` is the summary's table `theory`.
    """
    rows = []
    for row in frame.to_dict("records"):
        p, holm = (NONE if pd.isna(row[name]) else f"{row[name]:.2g}" for name in ("p", "holm"))
        cells = [label_of(row["quantity"]), hundredths(row["spearman"]), bounds(row), p, holm]
        kind = "reference" if row["quantity"] == PREDICTED else ""
        rows.append(Row([*cells, f"{row['cells']}", f"{row['censored']}"], kind))
    return Table(
        name="theory",
        title="Rank correlation with the horizon",
        head=["quantity", "Spearman", "95 % interval", "p", "p (Holm)", "cells", "censored"],
        rows=rows,
        frame=frame,
        notes=[
            "Interval: percentile bootstrap over cells. It is too narrow for new tasks and new "
            "models, because cells of one task share its data and cells of one model its design. "
            "p: permutation of the cells. Holm: p corrected for the number of quantities. Cells: "
            "the number of cells with this quantity and a horizon. Censored: cells whose horizon "
            "is beyond the longest lag measured; they count with that lag. The decoding distance "
            "is half behavioural: the read-out is fitted to the task's own answers, so the "
            "prediction does not use it.",
        ],
    )


def bounds(row: Mapping[Any, Any]) -> str:
    """Format the interval of a rank correlation."""
    return NONE if pd.isna(row["low"]) else f"{hundredths(row['low'])} to {hundredths(row['high'])}"


def lag_table(frame: pd.DataFrame) -> Table:
    """The table of the measured and the predicted horizon of each model on each task.

    `frame` is the summary's table `failing_lag`.
    """
    rows = []
    for row in frame.to_dict("records"):
        measured = shown(row["horizon"], STEPS, is_censored=row["censored"])
        predicted = [steps(row["predicted"]), percent(row["error"])]
        constant = [steps(row["constant"]), percent(row["constant_error"])]
        rows.append(Row([row["task"], row["model"], measured, *predicted, *constant]))
    return Table(
        name="failing_lag",
        title="Horizon, measured and predicted",
        head=["task", "model", "measured", "predicted", "error", "geometric mean", "its error"],
        rows=rows,
        frame=frame,
        notes=["Geometric mean: over the cells of the other tasks, without any theory."],
    )


def findings(theory: pd.DataFrame, lags: pd.DataFrame) -> Iterator[str]:
    """Say which quantity correlates best with the horizon, and how good the prediction is.

    The sentences are computed from the summary's tables `theory` and `failing_lag`.
    """
    rows = theory.set_index("quantity")
    yield best_quantity(rows.drop(index=PREDICTED))
    correlation = float(rows["spearman"][PREDICTED])
    if pd.isna(correlation):
        yield f"The prediction of the horizon is not judged: {why_not_judged(lags)}."
        return
    yield prediction_sentence(correlation, lags[lags["error"].notna()])
    for kind in ("task", "model"):
        yield errors_by(lags, kind)


def prediction_sentence(correlation: float, lags: pd.DataFrame) -> str:
    """State how well theory predicts the horizon on the tasks left out.

    The text also says whether the prediction meets the bounds BAR_CORRELATION and BAR_ERROR.
    """
    error, constant_error = lags["error"].median(), lags["constant_error"].median()
    uncensored = lags.loc[~lags["censored"], "error"]
    is_met = correlation >= BAR_CORRELATION and error <= BAR_ERROR
    within = (lags["error"] <= BAR_ERROR).sum()
    return (
        "Predicted from theory for the tasks left out, the horizon has a rank correlation of "
        f"{hundredths(correlation)} with the measured one and a median error of {percent(error)}. "
        f"The geometric mean of the other tasks has an error of {percent(constant_error)}. On the "
        f"{len(uncensored)} cells that are not censored, the error is "
        f"{percent(uncensored.median())}. {within} of {len(lags)} cells are within "
        f"{percent(BAR_ERROR)}. The bar, a correlation of at least {BAR_CORRELATION} and an error "
        f"of at most {percent(BAR_ERROR)}, is {'' if is_met else 'not '}met."
    )


def best_quantity(rows: pd.DataFrame) -> str:
    """State which quantity correlates most strongly with the memory horizon.

    The sentence also says whether chance could explain the correlation.
    """
    if rows["spearman"].isna().all():
        return (
            "No quantity can be ranked against the horizon: there are too few cells, or all have "
            "the same horizon."
        )
    name = rows["spearman"].idxmax()
    row = rows.to_dict("index")[name]
    is_sure = row["holm"] < CERTAIN and row["spearman"] > 0
    return (
        f"Over {row['cells']} cells ({row['censored']} of them censored), "
        f"the {label_of(str(name))} correlates most strongly with the horizon: "
        f"Spearman {hundredths(row['spearman'])} (95 % interval {bounds(row)}), "
        f"{'more' if is_sure else 'no more'} than chance would give "
        f"(p = {row['holm']:.2g} after Holm's correction over {len(rows)} quantities)."
    )


def why_not_judged(lags: pd.DataFrame) -> str:
    """The reason, as a clause, why the prediction cannot be judged."""
    if lags["task"].nunique() < 2:
        return "cells with a horizon are needed on at least two tasks"
    if lags["predicted"].isna().all():
        return f"{len(lags)} cells with a horizon are too few, or none has a theoretical quantity"
    return "too few cells are predicted, or all have the same horizon"


def errors_by(lags: pd.DataFrame, kind: str) -> str:
    """State the median error of each task or each model, with the largest error first."""
    errors = lags.groupby(kind, observed=True)["error"].median().dropna()
    ordered = errors.sort_values(ascending=False, kind="stable")
    listed = ", ".join(f"{name} {percent(error)}" for name, error in ordered.items())
    return f"Median error by {kind}, the largest first: {listed}."
