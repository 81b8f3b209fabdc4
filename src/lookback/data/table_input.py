"""Makes the inputs of a network from a table, for a task and for predictions from a new table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from lookback.data.table_encoding import Encoding
from lookback.data.table_file import require_columns
from lookback.data.table_rows import (
    WIDE_GROUP,
    Asked,
    ask_at_end,
    ask_at_steps,
    ask_windows,
    long_from_wide,
    sorted_rows,
)


@dataclass(frozen=True)
class TableFacts:
    """What is needed to read a new table of the same columns; task.json holds it."""

    encoding: Encoding
    layout: Literal["long", "wide"]
    columns: tuple[str, ...]  # with `layout: wide`, the columns of the steps
    group: str | None
    time: str | None
    target: str
    ask: Literal["sequence", "step", "window"]
    horizon: int
    last: int | None  # the network sees so many last steps of a sequence; None: all
    classes: tuple[str, ...]  # names of the classes in their order; none if the target is a number
    # If the target is a number, the network answers (target − mean) / scale.
    target_mean: float
    target_scale: float

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TableFacts":
        """The facts from a dictionary that `to_dict` returned."""
        listed = {name: tuple(values[name]) for name in ("columns", "classes")}
        encoding = Encoding.from_dict(values["encoding"])
        return cls(**{**values, **listed, "encoding": encoding})


@dataclass(frozen=True)
class Questions:
    """The questions about a table, and the row of the table that each answer is for."""

    inputs: Float32[np.ndarray, "row feature"]
    asked: Asked
    keys: pd.DataFrame  # the columns `group` and `time` of each answer, in the order of the answers


def questions_of(file: str, frame: pd.DataFrame, facts: TableFacts) -> Questions:
    """What a network is asked about a new table, which needs no column for the target.

    A sequence and a step are asked as in training. A window is asked at each of its ends, up to the
    end of the series, so that the last answer is about a step that the table does not hold. `file`
    names the table in error messages. Raises UserError if a column is missing, or if a value cannot
    be encoded as in training.
    """
    encoding, group = facts.encoding, facts.group
    named = [("group", group), ("time", facts.time)]
    if facts.layout == "wide":
        named += [("numbers", name) for name in facts.columns]
    else:
        named += [("numbers", name) for name in encoding.numbers]
        named += [("categories", name) for name, _ in encoding.categories]
    require_columns(file, frame, [(setting, name) for setting, name in named if name])
    if facts.layout == "wide":
        frame, group = long_from_wide(file, frame, facts.columns, []), WIDE_GROUP
    rows = sorted_rows(file, frame, group, facts.time)
    everywhere = np.ones(len(rows.frame), dtype=bool)
    if facts.ask == "sequence":
        asked = ask_at_end(rows, facts.last)
    elif facts.ask == "step":
        asked = ask_at_steps(rows, everywhere)
    else:
        steps = facts.last or 1
        asked = ask_windows(rows, everywhere, steps, 0, steps)
    inputs = encoding.scaled(encoding.raw(file, rows.frame, rows.elapsed))
    answered = asked.target[asked.target >= 0]
    keys = rows.frame[[name for name in (group, facts.time) if name]].iloc[answered]
    return Questions(inputs, asked, keys.reset_index(drop=True))


def padded(
    inputs: Float32[np.ndarray, "row feature"], asked: Asked, questions: Int[np.ndarray, " batch"]
) -> tuple[Float[Tensor, "batch time feature"], Int[Tensor, " batch"], Int[Tensor, "batch query"]]:
    """The inputs, lengths and queries of some questions; the inputs are 0 behind a length."""
    length = asked.length[questions]
    steps = np.arange(max(1, length.max(initial=0)))
    is_inside = steps < length[:, None]
    rows = asked.first[questions, None] + np.where(is_inside, steps, 0)
    return (
        torch.from_numpy(inputs[rows] * is_inside[..., None]),
        torch.from_numpy(length),
        torch.from_numpy(asked.query[questions]),
    )


def answers_in_words(outputs: Float[Tensor, "answer output"], facts: TableFacts) -> pd.DataFrame:
    """The answers of a network in the words or the units of the table.

    The columns are `prediction` and, for classes, the probability of each class. `outputs` are
    probabilities of classes, or scaled values.
    """
    if not facts.classes:
        values = outputs[:, 0].double().numpy() * facts.target_scale + facts.target_mean
        return pd.DataFrame({"prediction": values})
    probabilities = outputs.double().numpy()
    chosen = np.array(facts.classes)[probabilities.argmax(axis=1)]
    named = {f"probability of {name}": probabilities[:, k] for k, name in enumerate(facts.classes)}
    return pd.DataFrame({"prediction": chosen, **named})
