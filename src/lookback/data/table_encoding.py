"""Turns the columns of a table into features, in the same way in training and in prediction.

A column of numbers gives one feature. A column of categories gives one feature per category of the
train split, which is 1 where the row has the category and 0 elsewhere. With `missing: mask`, a
column of numbers with gaps gives a second feature, which is 1 where the value is missing; the value
itself is then the mean of the train split. With `elapsed`, the time since the previous step of the
same sequence is one more feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64

from lookback.data.table_file import are_numbers, as_numbers, is_missing, names, row_name
from lookback.errors import UserError, shortened

ELAPSED = "elapsed time"  # the name of the feature that holds the time since the previous step


@dataclass(frozen=True)
class Encoding:
    """How rows of a table become features; JSON holds all of it, in task.json."""

    numbers: tuple[str, ...]  # columns of numbers
    # Each column of categories, with its categories in their order. JSON sorts the keys of a
    # mapping, which would change the order of the features.
    categories: tuple[tuple[str, tuple[str, ...]], ...]
    masked: tuple[str, ...]  # columns of numbers with a second feature for missing values
    elapsed: bool
    mean: tuple[float, ...] = ()  # of each feature on the train split; 0 for the features 0 and 1
    scale: tuple[float, ...] = ()  # standard deviation on the train split; 1 for those

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in their order."""
        return (
            *self.numbers,
            *((ELAPSED,) if self.elapsed else ()),
            *(f"{column} missing" for column in self.masked),
            *(f"{column} = {level}" for column, levels in self.categories for level in levels),
        )

    def to_dict(self) -> dict[str, Any]:
        """The encoding as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Encoding":
        """The encoding from a dictionary that `to_dict` returned."""
        listed = ("numbers", "masked", "mean", "scale")
        levels = tuple((column, tuple(given)) for column, given in values["categories"])
        fixed = {name: tuple(values[name]) for name in listed}
        return cls(categories=levels, elapsed=values["elapsed"], **fixed)

    def raw(
        self, file: str, frame: pd.DataFrame, elapsed: Float64[np.ndarray, " row"]
    ) -> Float64[np.ndarray, "row feature"]:
        """The features of all rows of `frame` in the units of the file, NaN for a missing number.

        `elapsed` is the time since the previous step, for each row. Raises UserError if a number is
        no number, or if the encoding does not know a category.
        """
        columns = [as_numbers(file, frame[name]) for name in self.numbers]
        by_name = dict(zip(self.numbers, columns, strict=True))
        if self.elapsed:
            columns.append(elapsed)
        columns += [np.isnan(by_name[name]).astype(np.float64) for name in self.masked]
        for name in (name for name in self.numbers if name not in self.masked):
            _refuse_gaps(file, frame[name], np.isnan(by_name[name]))
        for name, levels in self.categories:
            codes = _codes(file, frame[name], levels)
            columns += list(np.eye(len(levels))[codes].T)
        return np.stack(columns, axis=1)

    def fitted(self, raw: Float64[np.ndarray, "row feature"]) -> "Encoding":
        """The encoding with mean and scale of the raw features of the train split."""
        measured = len(self.numbers) + self.elapsed
        with np.errstate(invalid="ignore"):
            mean, scale = np.zeros(raw.shape[1]), np.ones(raw.shape[1])
            mean[:measured] = _of_known(np.mean, raw[:, :measured])
            scale[:measured] = _of_known(np.std, raw[:, :measured])
        scale[scale <= 1e-12 * np.abs(mean)] = 1.0  # a constant column
        return replace(self, mean=tuple(mean.tolist()), scale=tuple(scale.tolist()))

    def scaled(self, raw: Float64[np.ndarray, "row feature"]) -> Float32[np.ndarray, "row feature"]:
        """The features that a network sees: (raw − mean) / scale, and 0 for a missing number."""
        scaled = (raw - np.array(self.mean)) / np.array(self.scale)
        return np.where(np.isnan(raw), 0.0, scaled).astype(np.float32)


def encoding_of(
    file: str,
    train: pd.DataFrame,
    features: Sequence[str],
    categories: Sequence[str],
    *,
    masks: bool,
    elapsed: bool,
) -> Encoding:
    """The encoding for the columns of a table, from the rows of the train split, without scaling.

    If `masks` is true, a missing number is allowed in each column, else in none.
    """
    levels = tuple((name, tuple(sorted(set(names(file, train[name]))))) for name in categories)
    return Encoding(tuple(features), levels, tuple(features) if masks else (), elapsed)


def with_gaps(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns of numbers in which at least one value is missing."""
    return tuple(
        name for name in columns if are_numbers(frame[name]) and is_missing(frame[name]).any()
    )


def _of_known(statistic: Any, raw: Float64[np.ndarray, "row feature"]) -> Float64[np.ndarray, " f"]:
    """A statistic of the known values of each column; 0 for a column without any."""
    known = [column[~np.isnan(column)] for column in raw.T]
    return np.array([statistic(column) if len(column) else 0.0 for column in known])


def _refuse_gaps(file: str, column: "pd.Series[Any]", gaps: Bool[np.ndarray, " row"]) -> None:
    for row in np.flatnonzero(gaps)[:1]:
        raise UserError(
            f"{file}, {row_name(int(column.index[row]))}, column '{column.name}': the value is "
            f"missing, as in {int(gaps.sum())} of {len(gaps)} rows. Fill it in, or set "
            "`missing: mask`: the network then reads the mean of the train split and is told that "
            "the value is missing."
        )


def _codes(file: str, column: "pd.Series[Any]", levels: Sequence[str]) -> np.ndarray:
    """The place of each value of a column among the categories `levels`."""
    values = names(file, column)
    codes = pd.Index(levels).get_indexer(pd.Index(values))
    for row in np.flatnonzero(codes < 0)[:1]:
        raise UserError(
            f"{file}, {row_name(int(column.index[row]))}, column '{column.name}': the train split "
            f"has no category '{shortened(values.iloc[row])}'; it has "
            f"{shortened(', '.join(levels))}. Put a row with this category into the train split, "
            "or leave the column out."
        )
    return codes
