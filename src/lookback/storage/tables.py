"""Read and write result files, which are tables (.parquet) or arrays (.npz).

A result file stores the digests of the plans that produced the result. The argument `plans` maps
the result's own stage and all earlier stages to the digests of their plans. The function
`storage.provenance.plans_of` reads the digests from a result file. The summary of a study uses a
result only if the result's digests are those of the study's current plans. An example of `plans` is
{"train": "3f…", "prepare": "9a…"}.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lookback.errors import UserError
from lookback.storage.atomic import atomic_write
from lookback.storage.provenance import DAMAGED

Plans = Mapping[str, str]
_KEY = b"lookback.plans"


def write_parquet(path: str | os.PathLike[str], frame: pd.DataFrame, plans: Plans) -> None:
    """Write a data frame (without its row index) and the digests `plans` atomically."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), _KEY: json.dumps(dict(plans), sort_keys=True).encode()}
    )
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def read_parquet(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a data frame that `write_parquet` wrote.

    Raises UserError if the file is damaged, and deletes the file, so that the next run makes it
    again.
    """
    with _deleted_if_damaged(path):
        table = pq.read_table(path, use_threads=False, page_checksum_verification=True)
        frame: pd.DataFrame = table.to_pandas()
    return frame


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any], plans: Plans) -> None:
    """Write named arrays, and the digests of the plans, to one file in one atomic step."""
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary, **arrays, plans=np.array(json.dumps(dict(plans), sort_keys=True))
        )


def read_npz(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the arrays that `write_npz` wrote, but not the digests of the plans.

    Raises UserError if the file is damaged, and deletes the file, so that the next run makes it
    again.
    """
    with _deleted_if_damaged(path), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if name != "plans"}


@contextmanager
def _deleted_if_damaged(path: str | os.PathLike[str]) -> Iterator[None]:
    """Delete the file `path` and raise UserError if the block finds that the file is damaged."""
    try:
        yield
    except (pa.ArrowException, *DAMAGED) as error:
        if isinstance(error, OSError) and error.errno is not None:  # not the file, but the disk
            raise
        Path(path).unlink(missing_ok=True)
        raise UserError(
            f"{path} was damaged, and is deleted now. Start the study again to make the file again."
        ) from error
