"""Looks at a table, and proposes the settings of a task for it, with remarks for the person.

Everything that is proposed can be changed in the YAML of the task.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lookback.data.table_file import (
    are_numbers,
    as_numbers,
    is_missing,
    names,
    read_table,
    require_columns,
    row_name,
    times,
)
from lookback.data.table_rows import (
    WIDE_GROUP,
    WIDE_VALUE,
    SortedRows,
    long_from_wide,
    sorted_rows,
)
from lookback.errors import UserError, shortened

FEW = 20  # a column of text with at most so many values holds categories
CLASSES = 20  # a column of whole numbers with at most so many values holds classes
WINDOW = 64  # the longest window that is proposed
VALIDATION, TEST = 0.15, 0.25  # shares of the splits


@dataclass(frozen=True)
class Choice:
    """What is proposed for a table: the settings of the task, and remarks for the person."""

    settings: Mapping[str, Any]
    question: str  # one sentence, the first comment of both files
    seen: Sequence[tuple[str, str]]  # what the table holds: a heading and a text
    longest: int  # steps that a network can see


def choose(
    data: str,
    target: str,
    *,
    time: str | None,
    group: str | None,
    horizon: int | None,
    window: int | None,
    split: str | None,
) -> Choice:
    """Propose the settings of the task for the table in the file `data`.

    `target`, `time`, `group` and `split` are columns. Without `time` and `group`, each row is one
    sequence. Raises UserError if the table cannot be used.
    """
    frame = read_table(data)
    given = {"--target": target, "--time": time, "--group": group, "--split": split}
    require_columns(data, frame, [(flag, column) for flag, column in given.items() if column])
    if len(frame) < 2:
        raise UserError(f"{data} has one row. A table needs at least two sequences or steps.")
    kind = _kind(data, frame[target])
    if group is None and time is None:
        return _wide(data, frame, target, kind, split)
    return _long(data, frame, target, kind, time, group, horizon, window, split)


def _kind(data: str, column: "pd.Series[Any]") -> str:
    """`class` if the target is text or has few whole values, and `value` otherwise."""
    if is_missing(column).all():
        raise UserError(f"{data}, column '{column.name}': the target is missing in every row.")
    if not are_numbers(column):
        return "class"
    values = as_numbers(data, column)
    values = values[~np.isnan(values)]
    is_code = len(np.unique(values)) <= CLASSES and (values == np.round(values)).all()
    return "class" if is_code else "value"


def _wide(data: str, frame: pd.DataFrame, target: str, kind: str, split: str | None) -> Choice:
    """The settings for a table with a sequence in each row."""
    kept = [name for name in (target, split) if name]
    others = [name for name in frame.columns if name not in kept]
    steps = [name for name in others if are_numbers(frame[name])]
    if len(steps) < 2:
        raise UserError(
            f"{data} has {len(steps)} column{'s' * (len(steps) != 1)} of numbers beside the "
            "target. If each row is one step, give --time (the column that orders the steps) or "
            "--group (the column that names the sequence)."
        )
    rows = sorted_rows(data, long_from_wide(data, frame, steps, kept), WIDE_GROUP, None)
    left_out = [name for name in others if name not in steps]
    gaps = bool(rows.frame[WIDE_VALUE].isna().any())
    seen = [
        ("table", f"{data}: {len(frame):,} rows, one sequence a row"),
        ("steps", f"{_lengths(rows)}, in the columns {steps[0]} to {steps[-1]}"),
        *_missing_line({"the steps": rows.frame[WIDE_VALUE]}),
        *_target_line(data, frame[target], kind),
        *_left_out_line(dict.fromkeys(left_out, "holds no numbers")),
    ]
    settings = {
        "file": data,
        "layout": "wide",
        "group": None,
        "time": None,
        "numbers": steps if left_out else None,
        "categories": None,
        **_asked(target, kind, "sequence", None, 0, gaps, elapsed=False),
        **_split("column" if split else "random", split),
    }
    return Choice(settings, _question(target, kind, "sequence", 0), seen, int(rows.length.max()))


def _long(
    data: str,
    frame: pd.DataFrame,
    target: str,
    kind: str,
    time: str | None,
    group: str | None,
    horizon: int | None,
    window: int | None,
    split: str | None,
) -> Choice:
    """The settings for a table with a step in each row."""
    rows = sorted_rows(data, frame, group, time)
    ask = _ask(data, rows, target, group, horizon, window)
    if ask == "window" and horizon is None:
        horizon = 0 if kind == "class" else 1
    roles = [name for name in (time, group, split) if name]
    roles += [] if ask == "window" and horizon else [target]
    features, categories, left_out = _features(
        rows.frame, [n for n in frame.columns if n not in roles]
    )
    if target in categories and kind == "value":
        raise UserError(f"{data}, column '{target}': the target is no number.")
    if not (features or categories):
        raise UserError(
            f"{data} has no column that can be a feature ({_listed(left_out)}). Give it at least "
            "one column of numbers, or of a few categories, beside the target."
        )
    gaps = any(is_missing(rows.frame[name]).any() for name in features)
    sampling, irregular = _sampling(data, rows, time)
    if ask == "window" and window is None:
        held_out = int(VALIDATION * rows.length.min())
        window = max(1, min(WINDOW, held_out // 2 - (horizon or 0)))
    seen = [
        ("table", f"{data}: {len(frame):,} rows, one step a row"),
        ("sequences", f"{len(rows.start):,}; {_lengths(rows)}"),
        *sampling,
        ("numbers", ", ".join(features) or "none"),
        ("categories", _categories_text(rows.frame, categories) or "none"),
        *_missing_line({name: rows.frame[name] for name in features}),
        *_target_line(data, frame[target], kind),
        *_left_out_line(left_out),
    ]
    way = "column" if split else "time" if ask == "window" else "random"
    settings = {
        "file": data,
        "layout": "long",
        "group": group,
        "time": time,
        "numbers": features or None,
        "categories": categories or None,
        **_asked(target, kind, ask, window, horizon or 0, gaps, elapsed=irregular),
        **_split(way, split),
    }
    longest = window if ask == "window" and window else int(rows.length.max())
    return Choice(settings, _question(target, kind, ask, horizon or 0), seen, longest)


def _ask(
    data: str,
    rows: SortedRows,
    target: str,
    group: str | None,
    horizon: int | None,
    window: int | None,
) -> str:
    """What the network answers: `sequence`, `step` or `window`."""
    if group is None or horizon is not None or window is not None:
        return "window"
    column = rows.frame[target]
    if is_missing(column).any():
        return "step"
    values = names(data, column).to_numpy()
    return "sequence" if (values == np.repeat(values[rows.start], rows.length)).all() else "step"


def _question(target: str, kind: str, ask: str, horizon: int) -> str:
    """The question that the networks answer, as one sentence."""
    if horizon:
        return f"What will {target} be {horizon} step{'s' * (horizon > 1)} after a window?"
    whose = {"sequence": "a sequence", "step": "each step", "window": "the last step of a window"}
    if kind == "class":
        return f"Which {target} does {whose[ask]} have?"
    return f"What is the {target} of {whose[ask]}?"


def _asked(
    target: str, kind: str, ask: str, window: int | None, horizon: int, gaps: bool, *, elapsed: bool
) -> dict[str, Any]:
    return {
        "target": target,
        "kind": kind,
        "ask": ask,
        "window": window,
        "horizon": horizon,
        "last": None,
        "missing": "mask" if gaps else "error",
        "elapsed": elapsed,
    }


def _split(way: str, column: str | None) -> dict[str, Any]:
    return {
        "split": way,
        "split_column": column,
        "validation_share": VALIDATION,
        "test_share": TEST,
        "seed": 0,
    }


def _features(
    frame: pd.DataFrame, columns: Sequence[str]
) -> tuple[list[str], list[str], dict[str, str]]:
    """The columns of numbers, the columns of categories, and why other columns are left out."""
    features, categories, left_out = list[str](), list[str](), dict[str, str]()
    for name in columns:
        column = frame[name]
        known = column[~is_missing(column)]
        distinct = known.nunique()
        if distinct < 2:
            left_out[name] = "is constant" if distinct else "is empty"
        elif are_numbers(column):
            features.append(name)
        elif _are_dates(known):
            left_out[name] = "holds dates"
        elif distinct > FEW:
            left_out[name] = f"is text with {distinct:,} values"
        elif len(known) < len(column):
            left_out[name] = "is text with missing values"
        else:
            categories.append(name)
    return features, categories, left_out


def _are_dates(column: "pd.Series[Any]") -> bool:
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    parsed = pd.to_datetime(column.astype(str), format="ISO8601", utc=True, errors="coerce")
    return bool(parsed.notna().all())


def _lengths(rows: SortedRows) -> str:
    low, high = int(rows.length.min()), int(rows.length.max())
    return f"{low:,} steps each" if low == high else f"{low:,} to {high:,} steps, unequal"


def _sampling(data: str, rows: SortedRows, time: str | None) -> tuple[list[tuple[str, str]], bool]:
    """A line about the distances of the steps in time, and whether they are irregular."""
    if time is None:
        return [("steps", "in the order of the file")], False
    is_first = np.zeros(len(rows.frame), dtype=bool)
    is_first[rows.start] = True
    gaps = rows.elapsed[~is_first]
    is_number = are_numbers(rows.frame[time])
    if len(gaps) == 0:
        return [("sampling", "each sequence has one step")], False
    usual = float(np.median(gaps))
    share = float(np.isclose(gaps, usual, rtol=1e-3).mean())
    clock = times(data, rows.frame[time])
    was_sorted = bool((np.diff(rows.frame.index.to_numpy()) > 0).all())
    order = "" if was_sorted else "; the rows are sorted by time here, not in the file"
    span = f"{clock.min():g} to {clock.max():g}, " if is_number else ""
    every = f"{usual:g}" if is_number else str(pd.Timedelta(seconds=usual))
    if share > 0.99:  # months and leap days differ a little
        return [("sampling", f"{span}a step every {every}{order}")], False
    text = (
        f"{span}irregular: a step every {every} in {share:.0%} of steps, at most "
        f"{gaps.max() / usual:.3g} times that; the elapsed time becomes a feature{order}"
    )
    return [("sampling", text)], True


def _categories_text(frame: pd.DataFrame, columns: Sequence[str]) -> str:
    return "; ".join(
        f"{name} ({shortened(', '.join(sorted(map(str, frame[name].unique()))))})"
        for name in columns
    )


def _missing_line(columns: Mapping[str, "pd.Series[Any]"]) -> Iterator[tuple[str, str]]:
    counts = {name: int(is_missing(column).sum()) for name, column in columns.items()}
    gaps = {name: count for name, count in counts.items() if count}
    if gaps:
        text = ", ".join(f"{name} {count:,}" for name, count in gaps.items())
        first = next(name for name in gaps)
        place = int(is_missing(columns[first]).to_numpy().argmax())
        row = row_name(int(columns[first].index[place]))
        yield (
            "missing",
            f"{text} values (first in {row}); the network reads the mean and a mark",
        )


def _target_line(data: str, column: "pd.Series[Any]", kind: str) -> Iterator[tuple[str, str]]:
    gaps = is_missing(column)
    without = f"; {int(gaps.sum()):,} rows have none" if gaps.any() else ""
    if kind == "class":
        counts = names(data, column[~gaps]).value_counts()
        text = shortened(", ".join(f"{name} {count:,}" for name, count in counts.items()))
        yield "target", f"{column.name}, {len(counts)} classes (rows): {text}{without}"
    else:
        values = as_numbers(data, column)
        low, high = np.nanmin(values), np.nanmax(values)
        yield "target", f"{column.name}, a number from {low:g} to {high:g}{without}"


def _listed(left_out: Mapping[str, str]) -> str:
    return shortened("; ".join(f"{name} {why}" for name, why in left_out.items()))


def _left_out_line(left_out: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if left_out:
        yield "left out", _listed(left_out)
