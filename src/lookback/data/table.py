"""A table of your own: one row a step, in a CSV or Parquet file.

With `layout: long`, the rows with the same value in the column `group` are one sequence, in the
order of the column `time`. Columns become features as lookback/data/table_encoding.py says. With
`layout: wide`, each row is one sequence of one feature, and the columns in `numbers` are its
steps; without `numbers`, these are all columns except the target. Empty fields at the end of a row
are behind the end of the sequence. The setting `ask` says what the network answers:

- `sequence`: one answer for each sequence, at its last step. All rows of a sequence hold the same
  target.
- `step`: an answer at every step that holds a target.
- `window`: the target `horizon` steps after the end of a window of `window` steps; a horizon of 0
  asks for the target of the last step of the window. Windows of all lengths up to `window` have the
  same targets, so `last` can be compared: the network sees only the last `last` steps.

If the targets are numbers, the network learns (target − mean) / standard deviation of the train
split. task.json holds both, and `lookback predict` answers in the units of the file.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Float64, Int

from lookback.data.baselines import asked_targets, mean_of_targets, most_frequent_class
from lookback.data.batch import SequenceDataset
from lookback.data.table_encoding import Encoding, encoding_of
from lookback.data.table_file import (
    as_numbers,
    is_missing,
    names,
    read_table,
    require_columns,
    row_name,
)
from lookback.data.table_input import TableFacts, padded
from lookback.data.table_rows import (
    WIDE_GROUP,
    WIDE_VALUE,
    Asked,
    SortedRows,
    ask_at_end,
    ask_at_steps,
    ask_windows,
    long_from_wide,
    rows_of,
    sorted_rows,
)
from lookback.data.table_splits import (
    SplitRule,
    require_sequences,
    split_by_column,
    split_by_time,
    split_sequences,
)
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.errors import UserError, shortened

MOST_CLASSES = 1_000


class Table(Task):
    """A task that is read from a table."""

    def __init__(
        self,
        file: str,
        layout: Literal["long", "wide"],
        group: str | None,
        time: str | None,
        numbers: Sequence[str] | None,
        categories: Sequence[str] | None,
        target: str,
        kind: Literal["class", "value"],
        ask: Literal["sequence", "step", "window"],
        window: int | None,
        horizon: int,
        last: int | None,
        missing: Literal["error", "mask"],
        elapsed: bool,
        split: Literal["random", "time", "column"],
        split_column: str | None,
        validation_share: float,
        test_share: float,
        seed: int,
    ):
        self.rule = SplitRule(split, split_column, validation_share, test_share, seed)
        self.file, self.layout, self.group, self.time = file, layout, group, time
        self.numbers, self.categories = tuple(numbers or ()), tuple(categories or ())
        self.target, self.kind, self.ask = target, kind, ask
        self.window, self.horizon, self.last = window, horizon, last
        self.missing, self.elapsed = missing, elapsed
        self._steps: tuple[str, ...] = ()  # with `layout: wide`, the columns of the steps
        self._check_settings()

    def _check_settings(self) -> None:
        if self.layout == "wide":
            self._check_wide()
        elif not (self.numbers or self.categories):
            raise UserError("Name at least one column in `numbers` or in `categories`.")
        both = set(self.numbers) & set(self.categories)
        if both:
            raise UserError(f"The column '{min(both)}' stands in `numbers` and in `categories`.")
        if (self.ask == "window") != (self.window is not None):
            raise UserError("Give `window`, a number of steps, if, and only if, `ask` is `window`.")
        if self.rule.by == "time" and self.ask != "window":
            raise UserError("`split: time` cuts series; it needs `ask: window`.")
        if self.ask == "step" and self.last is not None:
            raise UserError(
                "`last` has no meaning with `ask: step`, where the network answers at every step. "
                "Use `ask: window` with `horizon: 0`."
            )
        for name, value, least in (
            ("window", self.window, 1), ("horizon", self.horizon, 0), ("last", self.last, 1)
        ):  # fmt: skip
            if value is not None and value < least:
                raise UserError(f"{name}: {value} is too small. Make it {least} or more.")
        if self.ask != "window" and self.horizon:
            raise UserError("`horizon` has a meaning only with `ask: window`. Make it 0.")
        if self.window is not None and self.last is not None and self.last > self.window:
            raise UserError(f"last: {self.last} is more than window: {self.window} steps.")
        if self.elapsed and self.time is None:
            raise UserError("`elapsed: true` needs `time`, the column that holds the times.")
        sees_target = self.target in (*self.numbers, *self.categories)
        if sees_target and not (self.ask == "window" and self.horizon):
            raise UserError(
                f"The target '{self.target}' is also a feature, so the network would read its "
                "answer. Take it out of `numbers` and `categories`, or forecast it with "
                "`ask: window` and a `horizon` of 1 or more."
            )

    def _check_wide(self) -> None:
        """Raise UserError if a setting has no meaning in a table with one sequence a row."""
        settings = {
            "group": self.group,
            "time": self.time,
            "categories": self.categories,
            "elapsed": self.elapsed,
        }
        for name in (name for name, value in settings.items() if value):
            raise UserError(f"`{name}` has no meaning with `layout: wide`, one sequence a row.")
        if self.ask != "sequence":
            raise UserError("`layout: wide`, one sequence a row, needs `ask: sequence`.")

    def dataset(self, split: Split) -> SequenceDataset:
        """The sequences or windows of a split, with scaled inputs (N, T, F)."""
        chosen = self._parts[split]
        inputs, lengths, query = padded(self._inputs, self._asked, chosen)
        target = torch.from_numpy(self._targets[self._asked.target[chosen]])
        return SequenceDataset(inputs=inputs, lengths=lengths, query=query, target=target)

    def facts(self) -> Facts:
        """The shapes, split sizes, trivial baseline, and how the table becomes numbers."""
        train, test = self.dataset("train"), self.dataset("test")
        constant = most_frequent_class if self.kind == "class" else mean_of_targets
        baseline = constant(asked_targets(train), asked_targets(test))
        return Facts(
            kind=self.kind,
            tokens=False,
            features=len(self._encoding.features),
            length=int(self._asked.length.max()),
            outputs=len(self._classes) if self.kind == "class" else 1,
            metric=baseline.metric,
            baseline=baseline.score,
            baseline_name=baseline.name,
            sizes={split: len(self._parts[split]) for split in SPLITS},
            mean=self._encoding.mean,
            scale=self._encoding.scale,
            table=TableFacts(
                encoding=self._encoding,
                layout=self.layout,
                columns=self._steps,
                group=self.group,
                time=self.time,
                target=self.target,
                ask=self.ask,
                horizon=self.horizon,
                last=self.last or self.window,
                classes=self._classes,
                target_mean=self._target_scaling[0],
                target_scale=self._target_scaling[1],
            ).to_dict(),
        )

    @cached_property
    def _rows(self) -> SortedRows:
        frame = read_table(self.file)
        settings = {"group": self.group, "time": self.time, "target": self.target}
        settings["split_column"] = self.rule.column
        named = [(setting, name) for setting, name in settings.items() if name is not None]
        named += [("numbers", name) for name in self.numbers]
        named += [("categories", name) for name in self.categories]
        require_columns(self.file, frame, named)
        if self.layout == "wide":
            kept = [name for name in (self.target, self.rule.column) if name]
            self._steps = self.numbers or tuple(frame.columns.drop(kept))
            frame = long_from_wide(self.file, frame, self._steps, kept)
            return sorted_rows(self.file, frame, WIDE_GROUP, None)
        return sorted_rows(self.file, frame, self.group, self.time)

    @cached_property
    def _asked(self) -> Asked:
        known = ~is_missing(self._rows.frame[self.target]).to_numpy(dtype=bool)
        if self.ask == "sequence":
            self._check_one_target(known)
            return ask_at_end(self._rows, self.last)
        if self.ask == "step":
            return ask_at_steps(self._rows, known)
        window = self.window or 0  # the constructor requires a window here
        return ask_windows(self._rows, known, window, self.horizon, self.last or window)

    @cached_property
    def _parts(self) -> dict[Split, Int[np.ndarray, " _"]]:
        """The numbers of the questions in each split."""
        parts = self._split()
        require_sequences(parts, "Give the table more rows, or change the shares of the splits.")
        if self.kind == "class":
            self._check_classes(parts)
        return parts

    def _split(self) -> dict[Split, Int[np.ndarray, " _"]]:
        rows, asked = self._rows, self._asked
        if self.rule.by == "time":
            span = (self.window or 0) + self.horizon
            return split_by_time(self.rule, rows, asked, span)
        if self.rule.by == "column":
            column = self.rule.column or ""
            words = names(self.file, rows.frame[column])
            _check_constant(self.file, rows, words, "One sequence stands in two splits.")
            of_group = split_by_column(self.file, words.iloc[rows.start], column)
        else:
            labels = self._codes[rows.start] if self._has_one_class else None
            of_group = split_sequences(self.rule, labels, len(rows.start))
        return {split: np.flatnonzero(np.isin(asked.group, of_group[split])) for split in SPLITS}

    @property
    def _has_one_class(self) -> bool:
        """Whether each sequence has one class, so that the split can keep the shares of classes."""
        return self.kind == "class" and self.ask == "sequence"

    @cached_property
    def _encoded(self) -> tuple[Encoding, Float64[np.ndarray, "row feature"]]:
        """The encoding, fitted on the rows that the train split sees, and the raw features."""
        frame = self._rows.frame
        seen = rows_of(self._asked, self._parts["train"], len(frame))
        encoding = encoding_of(
            self.file,
            frame[seen],
            [WIDE_VALUE] if self.layout == "wide" else self.numbers,
            self.categories,
            masks=self.missing == "mask",
            elapsed=self.elapsed,
        )
        raw = encoding.raw(self.file, frame, self._rows.elapsed)
        return encoding.fitted(raw[seen]), raw

    @property
    def _encoding(self) -> Encoding:
        return self._encoded[0]

    @cached_property
    def _inputs(self) -> Float32[np.ndarray, "row feature"]:
        encoding, raw = self._encoded
        return encoding.scaled(raw)

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        """The names of the classes in their order, by value if all are numbers; none for values."""
        if self.kind == "value":
            return ()
        column = self._rows.frame[self.target]
        known = column[~is_missing(column)]
        classes = set(names(self.file, known))
        if len(classes) < 2:
            raise UserError(
                f"{self.file}, column '{self.target}': the target has "
                f"{len(classes)} class{'es' * (len(classes) != 1)}. A class to predict needs at "
                "least two; for numbers, set `kind: value`."
            )
        if len(classes) > MOST_CLASSES:
            raise UserError(
                f"{self.file}, column '{self.target}': the target has {len(classes):,} classes, "
                f"more than {MOST_CLASSES:,}. If it is a number, set `kind: value`."
            )
        is_number = all(re.fullmatch(r"-?\d+(\.\d+)?", name) for name in classes)
        return tuple(sorted(classes, key=float if is_number else str))

    @cached_property
    def _codes(self) -> Int[np.ndarray, " row"]:
        """The class of each row, or −1 if the row has none."""
        text = self._rows.frame[self.target]
        given = text[~is_missing(text)]
        codes = np.full(len(text), -1)
        places = ~is_missing(text).to_numpy(dtype=bool)
        codes[places] = pd.Index(self._classes).get_indexer(pd.Index(names(self.file, given)))
        return codes

    @cached_property
    def _values(self) -> Float64[np.ndarray, " row"]:
        """The target of each row in the units of the file, or NaN."""
        return as_numbers(self.file, self._rows.frame[self.target])

    @cached_property
    def _target_scaling(self) -> tuple[float, float]:
        """Mean and standard deviation of the targets of the train split; 0 and 1 for classes."""
        if self.kind == "class":
            return 0.0, 1.0
        asked = self._asked.target[self._parts["train"]]
        values = self._values[asked[asked >= 0]]
        if values.std() == 0:
            raise UserError(
                f"{self.file}, column '{self.target}': all targets of the train split are "
                f"{values[0]:g}, so there is nothing to predict."
            )
        return float(values.mean()), float(values.std())

    @cached_property
    def _targets(self) -> Int[np.ndarray, " row"] | Float32[np.ndarray, "row 1"]:
        """The target of each row, 0 where there is none."""
        if self.kind == "class":
            return np.where(self._codes < 0, 0, self._codes)
        mean, scale = self._target_scaling
        is_known = ~np.isnan(self._values)
        scaled = np.where(is_known, (self._values - mean) / scale, 0.0)
        return scaled.astype(np.float32)[:, None]

    def _check_one_target(self, known: Bool[np.ndarray, " row"]) -> None:
        """Raise UserError unless all rows of a sequence hold the same target."""
        column = self._rows.frame[self.target]
        for row in np.flatnonzero(~known)[:1]:
            raise UserError(
                f"{self.file}, {row_name(int(column.index[row]))}, column '{self.target}': the "
                "target is missing. Fill it in, or delete the sequence."
            )
        cure = "If the target changes within a sequence, set `ask: step` or `ask: window`."
        _check_constant(self.file, self._rows, names(self.file, column), cure)

    def _check_classes(self, parts: Mapping[Split, Int[np.ndarray, " _"]]) -> None:
        """Raise UserError if a class of another split does not occur in the train split."""
        seen = {split: self._asked.target[index] for split, index in parts.items()}
        classes = {split: set(self._codes[rows[rows >= 0]]) for split, rows in seen.items()}
        for split in ("validation", "test"):
            for code in sorted(classes[split] - classes["train"])[:1]:
                raise UserError(
                    f"{self.file}, column '{self.target}': the class '{self._classes[code]}' "
                    f"occurs in the {split} split and not in the train split, so no network can "
                    "learn it. Add sequences of this class, leave the class out, or change `seed` "
                    "or the shares of the splits."
                )


def _check_constant(file: str, rows: SortedRows, column: "pd.Series[str]", cure: str) -> None:
    """Raise UserError unless a column holds one value in each sequence."""
    values = column.to_numpy()
    first = np.repeat(values[rows.start], rows.length)
    for row in np.flatnonzero(values != first)[:1]:
        place = np.searchsorted(rows.start, row, side="right") - 1
        raise UserError(
            f"{file}, {row_name(int(column.index[row]))}, column '{column.name}': the value "
            f"'{shortened(str(values[row]))}' differs from '{shortened(str(first[row]))}' at the "
            f"first step of the sequence '{rows.labels.iloc[place]}'. {cure}"
        )
