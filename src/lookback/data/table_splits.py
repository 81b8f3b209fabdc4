"""Splits of a table without leaks: no sequence, and no step of a series, stands in two splits.

A table is split in one of three ways.

- `random`: whole sequences at random; if the answers are classes, with equal shares of each class.
- `time`: each series is cut at two times, first train, then validation, then test. Between two
  splits lies a gap, so that no window of one split overlaps a window of another.
- `column`: a column of the table names the split of each sequence.
"""

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Int

from lookback.data.splits import stratified_split
from lookback.data.table_rows import Asked, SortedRows
from lookback.data.task import SPLITS, Split
from lookback.errors import UserError

# The words of a column that names splits, in lower case.
WORDS: dict[str, Split] = {
    **{split: split for split in SPLITS},
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}


@dataclass(frozen=True)
class SplitRule:
    """How a table is split, from the settings of the task.

    Raises UserError if the settings contradict each other.
    """

    by: Literal["random", "time", "column"]
    column: str | None
    validation: float  # share of the sequences, or of the steps of each series
    test: float
    seed: int

    def __post_init__(self) -> None:
        if (self.by == "column") != (self.column is not None):
            raise UserError(
                "`split_column` names the column that holds the split of each sequence. Give it "
                "if, and only if, `split` is `column`."
            )
        shares = (self.validation, self.test)
        if min(shares) < 0 or self.test == 0 or sum(shares) >= 1:
            raise UserError(
                f"validation_share: {self.validation} and test_share: {self.test} leave no train "
                "split or no test split. Give shares between 0 and 1 whose sum is below 1."
            )


def split_sequences(
    rule: SplitRule, classes: Int[np.ndarray, " sequence"] | None, count: int
) -> dict[Split, Int[np.ndarray, " _"]]:
    """The numbers of the sequences in each split, at random.

    `classes` is the class of each of the `count` sequences, or None if the answers are no classes
    of whole sequences. Raises UserError if a split that is needed would be empty.
    """
    validation, test = round(count * rule.validation), max(1, round(count * rule.test))
    if rule.validation:
        validation = max(1, validation)
    if validation + test >= count:
        raise UserError(
            f"The table has {count} sequence{'s' * (count > 1)}, too few for a train, a validation "
            "and a test split. Give it more sequences; or, if one sequence is a long series, set "
            "`ask: window` and `split: time`."
        )
    generator = np.random.default_rng(rule.seed)
    labels = np.zeros(count, dtype=np.int64) if classes is None else classes
    parts = stratified_split(labels, validation, test, generator)
    return {split: np.sort(index) for split, index in parts.items()}


def split_by_column(
    file: str, values: "pd.Series[Any]", column: str
) -> dict[Split, Int[np.ndarray, " _"]]:
    """The numbers of the sequences in each split, from the word in a column for each sequence."""
    words = values.str.lower()
    for place in np.flatnonzero(~words.isin(list(WORDS)).to_numpy(dtype=bool))[:1]:
        raise UserError(
            f"{file}, column '{column}': '{values.iloc[place]}' is no split. Write train, "
            "validation or test."
        )
    chosen = words.map(WORDS).to_numpy()
    parts = {split: np.flatnonzero(chosen == split) for split in SPLITS}
    for split in ("train", "test"):
        if not len(parts[split]):
            raise UserError(f"{file}, column '{column}': no sequence is in the split {split}.")
    return parts


def split_by_time(
    rule: SplitRule, rows: SortedRows, asked: Asked, span: int
) -> dict[Split, Int[np.ndarray, " _"]]:
    """The numbers of the windows in each split; each series is cut at two places.

    A window covers `span` rows and ends at the row of its target. A window that reaches across a
    cut is in no split, so no two windows of different splits share a row.
    """
    steps = rows.length[asked.group]
    last = asked.target[:, 0] - rows.start[asked.group]  # the step of the target in its series
    first = last - span + 1
    test = np.round(steps * (1 - rule.test)).astype(np.int64)
    validation = np.round(steps * (1 - rule.test - rule.validation)).astype(np.int64)
    is_in = {
        "train": last < validation,
        "validation": (first >= validation) & (last < test),
        "test": first >= test,
    }
    return {split: np.flatnonzero(is_in[split]) for split in SPLITS}


def require_sequences(parts: Mapping[Split, Sized], advice: str) -> None:
    """Raise UserError if the train or the test split is empty."""
    for split in ("train", "test"):
        if not len(parts[split]):
            raise UserError(f"The {split} split has no sequence. {advice}")
