"""What the memory card says of the theory: tables, and sentences computed from them.

The bar: on tasks left out, a rank correlation of at least 0.9 between the predicted and the found
failing lag, and a median error of at most 20 %.
"""

from collections.abc import Iterator

import pandas as pd

from lookback.report.card_table import Cells, hundredths, lag, share, steps
from lookback.report.result_tables import NONE, Row, Table

CORRELATION = 0.9
ERROR = 0.2
CERTAIN = 0.05  # a p under this is called more than chance
FIGURES = {
    "half_distance_trained": "half-distance of the gradient, trained",
    "half_distance_initial": "half-distance of the gradient, before training",
    "lyapunov": "first Lyapunov exponent",
    "capacity": "linear memory capacity",
    "timescale": "time constant of the gates",
    "decoding": "decoding distance (half behavioural)",
    "predicted": "all but decoding, on the tasks left out",
}


def theory_table(frame: pd.DataFrame) -> Table:
    """How well each theoretical figure ranks the cells' horizons; the summary's `theory`."""
    rows = []
    for row in frame.to_dict("records"):
        p, holm = (NONE if pd.isna(row[each]) else f"{row[each]:.2g}" for each in ("p", "holm"))
        cells = [FIGURES[row["figure"]], hundredths(row["spearman"]), bounds(row), p, holm]
        kind = "reference" if row["figure"] == "predicted" else ""
        rows.append(Row([*cells, f"{row['cells']}", f"{row['censored']}"], kind))
    return Table(
        name="theory",
        title="Rank correlation with the horizon",
        head=["figure", "Spearman", "95 % interval", "p", "p (Holm)", "cells", "censored"],
        rows=rows,
        frame=frame,
        notes=[
            "Interval: percentile bootstrap over cells. Cells of one task share its data and cells "
            "of one model its design, so for new ones it is too narrow. p: permutation of the "
            "cells; Holm: corrected for the number of figures. Cells: those that have the figure. "
            "Censored: the horizon lies past the longest lag tried and counts as that lag, so such "
            "cells tie. Half behavioural: decoding is read off the state with the task's own "
            "answers; the prediction leaves it out.",
        ],
    )


def bounds(row: Cells) -> str:
    """The interval of a correlation."""
    return NONE if pd.isna(row["low"]) else f"{hundredths(row['low'])} to {hundredths(row['high'])}"


def lag_table(frame: pd.DataFrame) -> Table:
    """The failing lag of each cell, found and predicted; the summary's `failing_lag`."""
    rows = []
    for row in frame.to_dict("records"):
        predicted = [steps(row["predicted"]), share(row["error"])]
        without = [steps(row["constant"]), share(row["constant_error"])]
        found = lag(row["horizon"], is_censored=row["censored"])
        rows.append(Row([row["task"], row["model"], found, *predicted, *without]))
    return Table(
        name="failing_lag",
        title="Failing lag",
        head=["task", "model", "found", "predicted", "error", "without figures", "its error"],
        rows=rows,
        frame=frame,
        notes=["Without figures: the geometric mean of the other tasks' cells."],
    )


def findings(theory: pd.DataFrame, lags: pd.DataFrame) -> Iterator[str]:
    """Which figure ranks best, whether the bar is met, and where it is missed most.

    From the summary's tables `theory` and `failing_lag`.
    """
    rows = theory.set_index("figure")
    yield best_figure(rows.drop(index="predicted"))
    correlation = float(rows["spearman"]["predicted"])
    if pd.isna(correlation):
        yield f"The failing lag is not judged: {too_little(lags)}."
        return
    yield together(correlation, lags[lags["error"].notna()])
    for kind in ("task", "model"):
        yield worst(lags, kind)


def together(correlation: float, lags: pd.DataFrame) -> str:
    """How well the figures together predict the failing lag of the tasks left out."""
    error, blind = lags["error"].median(), lags["constant_error"].median()
    found = lags.loc[~lags["censored"], "error"]
    is_met = correlation >= CORRELATION and error <= ERROR
    return (
        "Predicted from the theoretical figures alone for the tasks left out, the failing lag has "
        f"a rank correlation of {hundredths(correlation)} with the one found and a median error of "
        f"{share(error)} (without any figure {share(blind)}; of the {len(found)} cells that are "
        f"not censored {share(found.median())}). {(lags['error'] <= ERROR).sum()} of {len(lags)} "
        f"cells lie within {share(ERROR)}. The bar, at least {CORRELATION} and at most "
        f"{share(ERROR)}, is {'' if is_met else 'not '}met."
    )


def best_figure(alone: pd.DataFrame) -> str:
    """The figure that ranks the horizon best, and whether chance could do as well."""
    if alone["spearman"].isna().all():
        return "No figure can be ranked against the horizon: too few cells, or all remember as far."
    name = alone["spearman"].idxmax()
    row = alone.to_dict("index")[name]
    is_sure = row["holm"] < CERTAIN and row["spearman"] > 0
    return (
        f"Over {row['cells']} cells ({row['censored']} of them censored) the horizon goes best "
        f"with the {FIGURES[str(name)]}: Spearman {hundredths(row['spearman'])} (95 % interval "
        f"{bounds(row)}), {'more' if is_sure else 'no more'} than chance would give "
        f"(p = {row['holm']:.2g} after Holm's correction over {len(alone)} figures)."
    )


def too_little(lags: pd.DataFrame) -> str:
    """Why the prediction says nothing."""
    if lags["task"].nunique() < 2:
        return "that takes cells with a horizon on two tasks at least"
    if lags["predicted"].isna().all():
        return f"{len(lags)} cells with a horizon are too few, or have no theoretical figure"
    return "too few cells are predicted, or all remember as far"


def worst(lags: pd.DataFrame, kind: str) -> str:
    """The median error of each task or model, the largest first."""
    errors = lags.groupby(kind, observed=True)["error"].median().dropna()
    ordered = errors.sort_values(ascending=False, kind="stable")
    said = ", ".join(f"{name} {share(error)}" for name, error in ordered.items())
    return f"Median error by {kind}, the largest first: {said}."
