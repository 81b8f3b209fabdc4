"""Reads a table from a CSV or Parquet file, and converts its columns to numbers.

An error message names the file, the column and the row. Rows are counted as a spreadsheet counts
them: row 1 is the header, so the first sequence or step stands in row 2. A CSV file is UTF-8 text
(with or without a byte-order mark). All its fields are read as text, so that a number such as
`007` stays a name where a column holds names.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from jaxtyping import Float64

from lookback.errors import UserError, nearest, shortened

DELIMITERS = ",;\t|"
MISSING = ("", "na", "n/a", "nan", "null", "none", "-", "?")  # in lower case
FIRST_ROW = 2  # the row of a spreadsheet that holds the first row below the header
CSV, PARQUET = (".csv", ".tsv", ".txt"), (".parquet", ".pq")


def read_table(file: str) -> pd.DataFrame:
    """The table in a file; each column of a CSV file is text, and a Parquet file keeps its types.

    The index counts the rows of the file from 0. Raises UserError if the file cannot be read as a
    table, or has no row.
    """
    path = Path(file)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(
            f"{file} {problem}. Give the path of a CSV or Parquet file. A relative path starts in "
            f"{Path.cwd()}."
        )
    if path.suffix.lower() not in (*CSV, *PARQUET):
        raise UserError(
            f"{file}: the name of the file must end in {', '.join((*CSV, *PARQUET))}. Rename the "
            "file, or export the table as CSV or Parquet."
        )
    frame = _read_parquet(path) if path.suffix.lower() in PARQUET else _read_csv(path)
    if frame.empty:
        raise UserError(f"{file} has no row below its header. Give it one row per step.")
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path} is no readable Parquet file: {error}.") from error
    frame = frame.reset_index(drop=isinstance(frame.index, pd.RangeIndex))
    frame.columns = frame.columns.map(str)
    _check_header(path, list(frame.columns))
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    """All fields of a CSV file as text."""
    wrong: list[pyarrow.csv.InvalidRow] = []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        wrong.append(row)
        return "skip"

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
        if not line:
            raise UserError(f"{path} is empty. Give it a header and one row per step.")
        delimiter = delimiter_of(line)
        header = next(csv.reader([line], delimiter=delimiter), [])
        _check_header(path, header)
        read = pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(column_names=header, skip_rows=1, use_threads=False),
            pyarrow.csv.ParseOptions(
                delimiter=delimiter,
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=skip,
            ),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
            ),
        )
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise UserError(_unreadable(path, error)) from error
    _check_fields(path, wrong)
    return _without_blank_end(path, read.to_pandas())


def _check_fields(path: Path, wrong: Sequence[Any]) -> None:
    """Raise UserError if a row has another number of fields than the header."""
    for row in wrong[:1]:
        fields = f"{row.actual_columns} field{'s' * (row.actual_columns != 1)}"
        raise UserError(
            f"{path}, row {row.number} has {fields}, but the header has {row.expected_columns}. "
            "Complete the row, or delete it. A field that holds the delimiter or a line break "
            'stands in double quotes, and a double quote inside it is written twice: "".'
        )


def delimiter_of(header: str) -> str:
    """The delimiter of a CSV file: the one of DELIMITERS that occurs most often in its header.

    Delimiters inside double quotes do not count.
    """
    plain = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=plain.count)


def _check_header(path: Path, header: Sequence[str]) -> None:
    """Raise UserError if a column has no name, or a name occurs twice."""
    if not any(name.strip() for name in header):
        raise UserError(f"{path} has no header. Write the names of the columns into row 1.")
    seen: dict[str, int] = {}
    for place, name in enumerate(header, 1):
        if not name.strip():
            raise UserError(f"{path}, row 1: column {place} has no name. Give it one.")
        if name in seen:
            raise UserError(
                f"{path}, row 1: columns {seen[name]} and {place} are both named '{name}'. Rename "
                "one of them."
            )
        seen[name] = place


def _without_blank_end(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The table without blank rows at its end; raises UserError if another row is blank."""
    is_blank = (frame == "").all(axis=1).to_numpy()
    filled = np.flatnonzero(~is_blank)
    end = filled[-1] + 1 if len(filled) else 0
    for row in np.flatnonzero(is_blank[:end])[:1]:
        raise UserError(f"{path}, {row_name(int(row))} is blank. Delete the row.")
    return frame.iloc[:end]


def _unreadable(path: Path, error: Exception) -> str:
    """The message for a file whose text or form cannot be read."""
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return f"{path} is UTF-16 text. Export the table as «CSV UTF-8»."
    if b"\0" in content:
        return f"{path} is no text file. Export the table as CSV or Parquet."
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as first:
        row = content[: first.start].count(b"\n") + 1
        return (
            f"{path}, row {row}: the byte 0x{content[first.start]:02x} is not UTF-8 text. Export "
            "the table as «CSV UTF-8»."
        )
    return f"{path} is no readable CSV file: {' '.join(str(error).split())}."


def require_columns(file: str, frame: pd.DataFrame, names: Iterable[tuple[str, str]]) -> None:
    """Raise UserError if a column is missing. `names` are pairs of a setting and a column."""
    for setting, name in names:
        if name not in frame.columns:
            near = nearest(name, frame.columns)
            hint = f" Did you mean '{near}'?" if near else ""
            columns = shortened(", ".join(map(str, frame.columns)))
            few = " A file with one column may have an unknown delimiter; use a comma."
            raise UserError(
                f"{file} has no column '{name}' ({setting}).{hint} Its columns are: {columns}."
                + (few if frame.shape[1] == 1 else "")
            )


def row_name(row: int) -> str:
    """The name of a row of the table for a message, from its number counted from 0."""
    return f"row {row + FIRST_ROW}"


def is_missing(column: "pd.Series[Any]") -> "pd.Series[bool]":
    """Whether each field of a column holds no value: it is null, empty, or a word such as `NA`."""
    if _is_text(column):
        words = column.fillna("").str.strip().str.lower()
        return words.isin(MISSING)
    return column.isna()


def as_numbers(file: str, column: "pd.Series[Any]") -> Float64[np.ndarray, " row"]:
    """The values of a column as float64, with NaN for missing values.

    True and False become 1 and 0. Raises UserError if a value is infinite or is no number.
    """
    values, wrong = _as_numbers(column)
    for row in np.flatnonzero(wrong)[:1]:
        text = str(column.iloc[row])
        raise UserError(
            f"{file}, {row_name(int(column.index[row]))}, column '{column.name}': "
            f"'{shortened(text)}' is no number.{_hint(text)}"
        )
    for row in np.flatnonzero(np.isinf(values))[:1]:
        raise UserError(
            f"{file}, {row_name(int(column.index[row]))}, column '{column.name}': the value is "
            "infinite. Correct it, or leave the field empty if the value is missing."
        )
    return values


def are_numbers(column: "pd.Series[Any]") -> bool:
    """Whether every value of a column is a number or is missing."""
    return not _as_numbers(column)[1].any()


def _as_numbers(
    column: "pd.Series[Any]",
) -> tuple[Float64[np.ndarray, " row"], np.ndarray]:
    """The values of a column, NaN where there is none, and whether each field is a wrong text."""
    is_empty = is_missing(column).to_numpy(dtype=bool)
    if _is_text(column):
        words = column.fillna("").str.strip()
        words = words.mask(words.str.lower() == "true", "1").mask(words.str.lower() == "false", "0")
        values = pd.to_numeric(words.mask(is_empty), errors="coerce")
    elif pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        values = column
    else:
        values = pd.Series(np.nan, index=column.index)
    array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return array, np.isnan(array) & ~is_empty


def _is_text(column: "pd.Series[Any]") -> bool:
    return bool(
        pd.api.types.is_string_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype)
    )


def _hint(text: str) -> str:
    if re.fullmatch(r"\s*[-+]?[\d.]*,\d+\s*", text):
        return " Write a decimal point in place of the decimal comma."
    if re.match(r"\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}", text):
        return " It is a date: give the column as `time`, or leave it out of `numbers`."
    return " Correct it, or list the column in `categories`."


def names(file: str, column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The values of a column as names, without spaces around them.

    A whole number of a Parquet file has no decimal point. Raises UserError if a value is missing.
    """
    for row in np.flatnonzero(is_missing(column).to_numpy(dtype=bool))[:1]:
        raise UserError(
            f"{file}, {row_name(int(column.index[row]))}, column '{column.name}': the value is "
            "missing. Fill it in, or delete the row."
        )
    if pd.api.types.is_float_dtype(column) and (column == column.round()).all():
        column = column.astype("int64")
    return column.astype(str).str.strip()


def times(file: str, column: "pd.Series[Any]") -> Float64[np.ndarray, " row"]:
    """The times of a column: numbers as they are, and dates as seconds since 1970.

    A date is ISO 8601 text or a date of Parquet. Raises UserError if a time is missing, if it is
    neither a number nor a date, or if some dates have a time zone and others have none.
    """
    for row in np.flatnonzero(is_missing(column).to_numpy(dtype=bool))[:1]:
        raise UserError(
            f"{file}, {row_name(int(column.index[row]))}, column '{column.name}': the time is "
            "missing. Fill it in, or delete the row."
        )
    if are_numbers(column):
        return as_numbers(file, column)
    return dates(file, column).to_numpy("datetime64[ns]").astype(np.int64) / 1e9


def dates(file: str, column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The dates of a column, in UTC if they have a time zone."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz else column
    text = column.astype(str).str.strip()
    has_zone = text.str.contains(r"\d(?:Z|[+-]\d\d:?\d\d)$", regex=True).to_numpy(dtype=bool)
    if has_zone.any() and not has_zone.all():
        rows = [int(column.index[np.flatnonzero(part)[0]]) for part in (has_zone, ~has_zone)]
        raise UserError(
            f"{file}, column '{column.name}': the date in {row_name(rows[0])} has a time zone, and "
            f"the date in {row_name(rows[1])} has none. Give every date a time zone, or none."
        )
    parsed = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    for row in np.flatnonzero(parsed.isna().to_numpy())[:1]:
        raise UserError(
            f"{file}, {row_name(int(column.index[row]))}, column '{column.name}': "
            f"'{shortened(text.iloc[row])}' is neither a number nor a date such as "
            "2026-01-31T12:00. Correct it."
        )
    return parsed.dt.tz_localize(None)
