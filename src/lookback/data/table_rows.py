"""The rows of a table in the order of sequences and steps, and what is asked about them.

Nothing here loops over sequences, so a table of a million short sequences takes seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int

from lookback.data.table_file import FIRST_ROW, as_numbers, names, row_name, times
from lookback.errors import UserError

# The columns of a table that was made from one with a sequence in each row.
WIDE_GROUP, WIDE_VALUE = "row of the file", "value"


@dataclass(frozen=True)
class SortedRows:
    """The rows of all sequences, one sequence after the other, each in the order of time."""

    frame: pd.DataFrame
    start: Int[np.ndarray, " sequence"]  # the first row of each sequence
    length: Int[np.ndarray, " sequence"]
    elapsed: Float64[np.ndarray, " row"]  # time since the previous step, 0 at the first step
    labels: "pd.Series[Any]"  # the value of the column `group`, of each sequence


@dataclass(frozen=True)
class Asked:
    """The questions. Each has the rows that the network sees, and the row of each target."""

    group: Int[np.ndarray, " question"]  # the number of the sequence that the rows belong to
    first: Int[np.ndarray, " question"]  # the first row that the network sees
    length: Int[np.ndarray, " question"]  # the number of rows that it sees
    query: Int[np.ndarray, "question query"]  # the step of each query, or −1 for padding
    target: Int[np.ndarray, "question query"]  # the row of each target, or −1 for padding


def sorted_rows(file: str, frame: pd.DataFrame, group: str | None, time: str | None) -> SortedRows:
    """Sort a table by sequence and time.

    Sequences keep the order of their first rows. Without `group`, the table is one sequence;
    without `time`, steps keep the order of the file. Raises UserError if two steps of a sequence
    have the same time.
    """
    labels = names(file, frame[group]) if group else pd.Series("all rows", index=frame.index)
    codes, _ = pd.factorize(labels)
    clock = times(file, frame[time]) if time else np.arange(len(frame), dtype=np.float64)
    order = np.lexsort((clock, codes))
    codes, clock, frame = codes[order], clock[order], frame.iloc[order]
    is_first = np.diff(codes, prepend=-1) != 0
    elapsed = np.where(is_first, 0.0, np.diff(clock, prepend=clock[0]))
    for row in np.flatnonzero(~is_first & (elapsed == 0))[:1]:
        here, before = (int(frame.index[place]) for place in (row, row - 1))
        which = f" of the sequence '{labels.loc[here]}'" if group else ""
        cure = "" if group else " If the table holds several sequences, name their column `group`."
        raise UserError(
            f"{file}, {row_name(here)}, column '{time}': the time {frame[time].iloc[row]}{which} "
            f"stands in {row_name(before)}, too. Keep one of the rows, or correct the time.{cure}"
        )
    start = np.flatnonzero(is_first)
    length = np.diff(start, append=len(frame))
    return SortedRows(frame, start, length, elapsed, labels.loc[frame.index[start]])


def ask_at_end(rows: SortedRows, last: int | None) -> Asked:
    """One question at the last step of each sequence; the network sees the last `last` steps."""
    length = rows.length if last is None else np.minimum(rows.length, last)
    final = rows.start + rows.length - 1
    return Asked(
        group=np.arange(len(rows.start)),
        first=final - length + 1,
        length=length,
        query=(length - 1)[:, None],
        target=final[:, None],
    )


def ask_at_steps(rows: SortedRows, known: Bool[np.ndarray, " row"]) -> Asked:
    """A question at every row in `known`, of each sequence that has one."""
    group = np.repeat(np.arange(len(rows.start)), rows.length)[known]
    counts = np.bincount(group, minlength=len(rows.start))
    asked = np.flatnonzero(counts)
    target = np.full((len(asked), counts.max(initial=1)), -1)
    place = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    target[np.searchsorted(asked, group), place] = np.flatnonzero(known)
    start = rows.start[asked]
    query = np.where(target < 0, -1, target - start[:, None])
    return Asked(asked, start, rows.length[asked], query, target)


def ask_windows(
    rows: SortedRows, known: Bool[np.ndarray, " row"], window: int, horizon: int, last: int
) -> Asked:
    """A question for each window of `window` rows whose target, `horizon` rows later, is known.

    The network sees the last `last` rows of the window. The rows of a window and its target belong
    to one sequence.
    """
    group = np.repeat(np.arange(len(rows.start)), rows.length)
    step = np.arange(len(group)) - rows.start[group]
    target = np.flatnonzero(known & (step >= window + horizon - 1))
    return Asked(
        group=group[target],
        first=target - horizon - last + 1,
        length=np.full(len(target), last),
        query=np.full((len(target), 1), last - 1),
        target=target[:, None],
    )


def rows_of(asked: Asked, questions: Int[np.ndarray, " _"], count: int) -> Bool[np.ndarray, " row"]:
    """Whether each of `count` rows is seen by the network in one of `questions`."""
    edges = np.zeros(count + 1, dtype=np.int64)
    np.add.at(edges, asked.first[questions], 1)
    np.add.at(edges, asked.first[questions] + asked.length[questions], -1)
    return np.cumsum(edges[:-1]) > 0


def long_from_wide(
    file: str, frame: pd.DataFrame, steps: Sequence[str], kept: Sequence[str]
) -> pd.DataFrame:
    """A table with one row a step, from one with a sequence in each row.

    `steps` names the columns of the steps, and `kept` other columns to keep. The index of the
    result counts the rows of the file. Raises UserError if a sequence has no value.
    """
    values = np.stack([as_numbers(file, frame[name]) for name in steps], axis=1)
    is_known = ~np.isnan(values)
    length = np.where(is_known, np.arange(1, len(steps) + 1), 0).max(axis=1)
    for row in np.flatnonzero(length == 0)[:1]:
        raise UserError(f"{file}, {row_name(int(frame.index[row]))}: the row has no value.")
    place = np.repeat(np.arange(len(frame)), length)
    long = frame[list(kept)].iloc[place]
    long[WIDE_GROUP] = place + FIRST_ROW
    long[WIDE_VALUE] = values[np.arange(len(steps)) < length[:, None]]
    return long
