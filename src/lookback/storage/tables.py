"""Read and write result files, which are tables (.parquet) or arrays (.npz).

A result file stores the digests of the plans that produced the result. The argument `plans` maps
the result's own stage and all earlier stages to the digests of their plans. The function
`storage.provenance.plans_of` reads the digests from a result file. The summary of a study uses a
result only if the result's digests are those of the study's current plans. An example of `plans` is
{"train": "3f…", "prepare": "9a…"}.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lookback.storage.atomic import atomic_write

Plans = Mapping[str, str]
_KEY = b"lookback.plans"


def write_parquet(path: str | os.PathLike[str], frame: pd.DataFrame, plans: Plans) -> None:
    """Write a data frame (without its row index) and the digests `plans` atomically."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), _KEY: json.dumps(dict(plans), sort_keys=True).encode()}
    )
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)


def read_parquet(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a data frame that `write_parquet` wrote."""
    frame: pd.DataFrame = pq.read_table(path, use_threads=False).to_pandas()
    return frame


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any], plans: Plans) -> None:
    """Write named arrays, and the digests of the plans, to one file in one atomic step."""
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary, **arrays, plans=np.array(json.dumps(dict(plans), sort_keys=True))
        )


def read_npz(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the arrays that `write_npz` wrote, but not the digests of the plans."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if name != "plans"}
