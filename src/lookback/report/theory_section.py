"""Say in tables and sentences of the report how well theory predicts the memory horizon."""

from collections.abc import Iterator

import pandas as pd

from lookback.report.numbers import NONE, hundredths, percent, shown, steps
from lookback.report.result_tables import Row, Table
from lookback.summarise.quantities.base import STEPS
from lookback.summarise.quantities.registry import BY_NAME
from lookback.summarise.theory import BAR_CONCORDANCE, BAR_ERROR, INITIAL, PARAMETERS, PREDICTIONS

CERTAIN = 0.05  # a p-value below this value counts as evidence against chance
LABELS = {
    "predicted": "predicted from all theory, on the tasks left out",
    "predicted_initial": "predicted before training, on the tasks left out",
    PARAMETERS: "number of parameters",
}


def label_of(quantity: str) -> str:
    """The label of one row of the table `theory`, which is about a quantity or a prediction."""
    return LABELS[quantity] if quantity in LABELS else BY_NAME[quantity].label


def theory_table(frame: pd.DataFrame) -> Table:
    """The table of the concordance of each quantity with the horizon.

    `frame` is the summary's table `theory`.
    """
    rows = []
    for row in frame.to_dict("records"):
        p, holm = (NONE if pd.isna(row[name]) else f"{row[name]:.2g}" for name in ("p", "holm"))
        names = ("concordance", "tasks_left_out", "seeds_left_out")
        found, tasks, seeds = (hundredths(row[name]) for name in names)
        kind = "reference" if row["quantity"] in PREDICTIONS else ""
        counts = [f"{row[name]}" for name in ("pairs", "cells", "censored")]
        rows.append(Row([label_of(row["quantity"]), found, p, holm, tasks, seeds, *counts], kind))
    return Table(
        name="theory",
        title="Concordance with the horizon, within tasks",
        head=[
            *("quantity", "concordance", "p", "p (Holm)", "tasks left out", "seeds left out"),
            *("pairs", "cells", "censored"),
        ],
        rows=rows,
        frame=frame,
        notes=[
            "Concordance: the share of pairs of models on the same task in which the model with "
            "the longer horizon has the larger value; 0.5 is chance, below 0.5 the order is "
            "reversed. p: permutation within tasks. Holm: corrected for the number of quantities. "
            "Tasks left out: in the direction that holds on the other tasks. Seeds left out: "
            "quantity and horizon from different seeds. Censored: cells whose horizon is only a "
            "bound; a pair counts if its order is known. The decoding distance is half "
            "behavioural: its read-out is fitted to the task's own answers. The units of the state "
            "and the number of parameters are plain rivals.",
        ],
    )


def map_table(frame: pd.DataFrame) -> Table:
    """The table of the concordance of each quantity on each task, with the number of pairs.

    `frame` is the summary's table `theory_map`.
    """
    tasks = list(frame["task"].unique())
    rows = []
    for quantity, part in frame.groupby("quantity", sort=False):
        by_task = part.set_index("task")
        cells = [
            f"{hundredths(by_task['concordance'][task])} ({by_task['pairs'][task]})"
            if task in by_task.index
            else NONE
            for task in tasks
        ]
        rows.append(Row([label_of(str(quantity)), *cells]))
    return Table(
        name="theory_map",
        title="Where each quantity holds and fails",
        head=["quantity", *map(str, tasks)],
        rows=rows,
        frame=frame,
        notes=["Concordance on each task, and the number of pairs of models in brackets."],
    )


def lag_table(frame: pd.DataFrame) -> Table:
    """The table of the measured and the predicted horizon of each model on each task.

    `frame` is the summary's table `failing_lag`.
    """
    rows = []
    for row in frame.to_dict("records"):
        bounds = {"is_censored": row["horizon_censored"], "is_below": row["horizon_below"]}
        measured = shown(row["horizon"], STEPS, **bounds)
        columns = [
            text
            for name in (*PREDICTIONS, "constant")
            for text in (steps(row[name]), percent(row[f"{name}_error"]))
        ]
        rows.append(Row([row["task"], row["model"], measured, *columns]))
    return Table(
        name="failing_lag",
        title="Horizon, measured and predicted",
        head=[
            *("task", "model", "measured", "predicted", "error"),
            *("before training", "its error", "geometric mean", "its error"),
        ],
        rows=rows,
        frame=frame,
        notes=[
            "Geometric mean: over the cells of the other tasks, without any theory. A horizon that "
            "is only a bound has no error."
        ],
    )


def findings(theory: pd.DataFrame, lags: pd.DataFrame) -> Iterator[str]:
    """Say which quantity orders the models best, and how good the predictions are.

    The sentences are computed from the summary's tables `theory` and `failing_lag`.
    """
    rows = theory.set_index("quantity")
    yield best_quantity(rows.drop(index=list(PREDICTIONS)))
    for name in PREDICTIONS:
        concordance = float(rows["concordance"][name])
        if pd.isna(concordance) or lags[f"{name}_error"].isna().all():
            yield f"The horizon {label_of(name)}, is not judged: {why_not_judged(lags, name)}."
        else:
            yield prediction_sentence(name, concordance, lags)


def prediction_sentence(name: str, concordance: float, lags: pd.DataFrame) -> str:
    """State how well a prediction orders the models of a task, and how far off it is.

    The text also says whether the prediction meets the bounds BAR_CONCORDANCE and BAR_ERROR.
    """
    errors, constant = lags[f"{name}_error"].dropna(), lags["constant_error"].median()
    is_met = concordance >= BAR_CONCORDANCE and errors.median() <= BAR_ERROR
    return (
        f"The horizon {label_of(name)}, has a concordance of {hundredths(concordance)} with the "
        f"measured one and a median error of {percent(errors.median())} ({percent(constant)} for "
        f"the geometric mean of the other tasks). {(errors <= BAR_ERROR).sum()} of {len(errors)} "
        f"cells with an exact horizon are within {percent(BAR_ERROR)}. The bar, a concordance of "
        f"at least {BAR_CONCORDANCE} and an error of at most {percent(BAR_ERROR)}, is "
        f"{'' if is_met else 'not '}met."
    )


def best_quantity(rows: pd.DataFrame) -> str:
    """State which quantity orders the models of a task best.

    The sentence also says whether chance could explain the order.
    """
    tested = rows[rows["concordance"].notna()]
    if tested.empty:
        return (
            "No quantity can be compared with the horizon: no two models on the same task have "
            "horizons whose order is known."
        )
    name = (tested["concordance"] - 0.5).abs().idxmax()
    row = tested.to_dict("index")[name]
    order = "larger" if row["concordance"] > 0.5 else "smaller"
    more = "more" if row["holm"] < CERTAIN else "no more"
    when = " before training" if name in INITIAL and "before" not in label_of(str(name)) else ""
    return (
        f"Within tasks, over {row['pairs']} pairs of models, the {label_of(str(name))}{when} "
        f"orders the models best: it is {order} for the longer horizon in "
        f"{percent(max(row['concordance'], 1 - row['concordance']))} of the pairs, {more} often "
        f"than chance would give (p = {row['holm']:.2g} after Holm's correction over "
        f"{len(tested)} quantities)."
    )


def why_not_judged(lags: pd.DataFrame, name: str) -> str:
    """The reason, as a clause, why a prediction cannot be judged."""
    if lags["task"].nunique() < 2:
        return "cells with a horizon are needed on at least two tasks"
    if lags[name].isna().all():
        return f"{len(lags)} cells with a horizon are too few, or none has a theoretical quantity"
    return "no pair of horizons has a known order, or none is exact"
